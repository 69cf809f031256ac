"""What commands say where the database cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEARTWOOD = Path(sys.executable).with_name("heartwood")


def _type(folder, url, *words):
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATABASE_URL": url}
    return subprocess.run([HEARTWOOD, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("token", "list"), ("jobs", "list")])
def test_without_tables_a_sentence_says_how_to_make_them(tmp_path, dsn, words):
    """A database that the hub has never used is named as such, with the command that makes its tables."""
    done = _type(tmp_path, dsn, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "heartwood: the hub's tables are not there yet; start the hub once, or type: heartwood db upgrade\n"
    )


@pytest.mark.parametrize("words", [("serve",), ("db", "status"), ("db", "upgrade"), ("db", "orphans")])
def test_without_a_server_a_sentence_names_its_address_and_not_its_password(tmp_path, words):
    """A server that is away is one line on standard error and status 1, not a traceback."""
    options = ("--set", "observe.live_listen=''", "--set", "data.acquire_timeout=0.1")
    done = _type(tmp_path, "postgresql://me:hunter2@127.0.0.1:1/hub", *options, *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("heartwood: PostgreSQL at 127.0.0.1:1 gave no connection: ")
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
