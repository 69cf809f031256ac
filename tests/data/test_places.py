"""Where the hub keeps its folders."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from heartwood.data.places import LONGEST_RUNTIME_DIR, Places, PlaceUnusable, find_places
from heartwood.data.settings import DataSettings

NOBODY_SET = DataSettings()


def as_user(monkeypatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_the_setting_wins_over_the_environment():
    """``data.dir`` and ``data.runtime_dir`` are used where they are set, made absolute."""
    environ = {"STATE_DIRECTORY": "/state", "RUNTIME_DIRECTORY": "/runtime"}
    settings = DataSettings(dir="here", runtime_dir="~/there")
    assert Places(Path.cwd() / "here", Path.home() / "there") == find_places(settings, environ)


def test_systemd_gives_the_folders():
    """The first of ``$STATE_DIRECTORY`` and of ``$RUNTIME_DIRECTORY`` is used, as systemd separates them by colons."""
    environ = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a:/run/b"}
    assert Places(Path("/var/lib/a"), Path("/run/a")) == find_places(NOBODY_SET, environ)


def test_root_keeps_data_under_var_lib(monkeypatch):
    """Without anything set, root's data is in /var/lib/heartwood, and root's private $XDG_RUNTIME_DIR is left alone."""
    as_user(monkeypatch, 0)
    places = find_places(NOBODY_SET, {"XDG_RUNTIME_DIR": "/run/user/0", "XDG_DATA_HOME": "/root/.data"})
    assert Places(Path("/var/lib/heartwood"), Path(tempfile.gettempdir()) / "heartwood-0") == places


def test_a_user_keeps_data_at_home(monkeypatch):
    """A user's data follows the XDG rules."""
    as_user(monkeypatch, 1000)
    environ = {"XDG_RUNTIME_DIR": "/run/user/1000", "XDG_DATA_HOME": "/home/a/.data"}
    assert Places(Path("/home/a/.data/heartwood"), Path("/run/user/1000/heartwood")) == find_places(NOBODY_SET, environ)
    assert Path.home() / ".local/share/heartwood" == find_places(NOBODY_SET, {}).data_dir


def test_a_long_temporary_folder_is_passed_over(monkeypatch):
    """Where the temporary folder is too long for sockets (as on macOS), /tmp is used."""
    as_user(monkeypatch, 501)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/var/folders/" + "x" * 50)
    assert Path("/tmp/heartwood-501") == find_places(NOBODY_SET, {}).runtime_dir


def test_a_runtime_folder_that_sockets_cannot_use_is_refused():
    """The sentence names the setting, the path and the limit."""
    with pytest.raises(PlaceUnusable, match=f"data.runtime_dir: /x+ is longer than {LONGEST_RUNTIME_DIR} bytes"):
        find_places(DataSettings(runtime_dir="/" + "x" * LONGEST_RUNTIME_DIR), {})


def test_folders_are_made_private(tmp_path):
    """Others cannot look into them; as root they may pass through, for the database runs as somebody else."""
    places = Places(tmp_path / "a" / "data", tmp_path / "run")
    places.make()
    expected = 0o711 if os.geteuid() == 0 else 0o700
    assert [expected] * 2 == [stat.S_IMODE(folder.stat().st_mode) for folder in (places.data_dir, places.runtime_dir)]
    places.make()


def test_a_runtime_folder_others_may_write_to_is_refused(tmp_path):
    """Somebody could put a socket of their own there."""
    places = Places(tmp_path / "data", tmp_path / "run")
    places.runtime_dir.mkdir()
    places.runtime_dir.chmod(0o777)
    with pytest.raises(PlaceUnusable, match="is not a private folder"):
        places.make()


def test_a_link_as_runtime_folder_is_refused(tmp_path):
    """A link in the temporary folder may have been put there by somebody else."""
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "target")
    with pytest.raises(PlaceUnusable, match="is not a private folder"):
        Places(tmp_path / "data", tmp_path / "run").make()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The sentence names the setting to change."""
    (tmp_path / "file").touch()
    with pytest.raises(PlaceUnusable, match=r"data\.dir: the folder .*file/data cannot be made"):
        Places(tmp_path / "file" / "data", tmp_path / "run").make()


def test_what_lies_below_the_data_folder():
    """Blobs and staging share a file system; the local token lies beside them."""
    places = Places(Path("/d"), Path("/r"))
    assert (Path("/d/blobs"), Path("/d/staging"), Path("/d/local-token")) == (
        places.blobs,
        places.staging,
        places.local_token,
    )
