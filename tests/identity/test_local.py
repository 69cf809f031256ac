"""The local token's file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from heartwood.identity.local import LocalTokenUnusable, local_token
from heartwood.identity.tokens import hash_of, new_text

PROGRAM = """
import json, sys
from pathlib import Path
from heartwood.identity.local import local_token
sys.stdin.readline()
print(json.dumps(local_token(Path(sys.argv[1]), None)))
"""


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "local-token"


def test_it_is_made_for_its_user_alone(path, log, lines):
    """One line with the token, mode 0600, nothing left beside it, nothing logged."""
    text = local_token(path, log)
    assert hash_of(text)
    assert f"{text}\n" == path.read_text()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert ["local-token"] == [each.name for each in path.parent.iterdir()]
    assert [] == lines


def test_it_is_kept(path, log):
    """The next start finds the same token."""
    assert local_token(path, log) == local_token(path, log)


def test_the_umask_does_not_matter(path, log):
    """A permissive umask opens it to nobody, a strict one does not close it to us."""
    before = os.umask(0o000)
    try:
        local_token(path, log)
    finally:
        os.umask(before)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_could_read_is_replaced(path, log, lines, mode):
    """Somebody may have the old token, so there is a new one, and a line says why."""
    old = local_token(path, log)
    path.chmod(mode)
    new = local_token(path, log)
    assert old != new
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert f"others could read it (mode {mode:04o})" == lines[0]["reason"]
    assert old not in repr(lines)


@pytest.mark.parametrize("content", ["", "hw_short", "x" * 10_000, "\x00\xff"])
def test_a_damaged_file_is_replaced(path, log, lines, content):
    """What is no token is not used."""
    path.write_bytes(content.encode("latin-1"))
    path.chmod(0o600)
    assert f"{local_token(path, log)}\n" == path.read_text()
    assert ["there is no token in it"] == [line["reason"] for line in lines]


def test_a_link_is_not_followed(path, tmp_path, log):
    """A link to somebody's choice of token is replaced, and its target left alone."""
    planted = tmp_path / "planted"
    planted.write_text(new_text())
    planted.chmod(0o600)
    path.symlink_to(planted)
    text = local_token(path, log)
    assert text != planted.read_text()
    assert not path.is_symlink()


def test_what_a_killed_process_left_is_no_obstacle(path, log):
    """The file that was being written is written anew."""
    path.with_name(".local-token.new").write_text("half")
    local_token(path, log)
    assert ["local-token"] == [each.name for each in path.parent.iterdir()]


def test_a_missing_folder_is_told(tmp_path, log):
    """The sentence names the file and the setting."""
    with pytest.raises(LocalTokenUnusable, match=r"No such file or directory; set data\.dir"):
        local_token(tmp_path / "absent" / "local-token", log)


def test_processes_that_start_together_agree_on_one(path):
    """Eight processes at once have the same token."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", PROGRAM, path], **pipes) for _ in range(8)]
    for each in started:
        each.stdin.write("\n")
        each.stdin.flush()
    assert 1 == len({json.loads(each.communicate(timeout=30)[0]) for each in started})
