"""Changing ``plugins.toml`` as its owner would: comments, order and blank lines stay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit
from tomlkit.exceptions import TOMLKitError

from heartwood.config.findings import FILE, ConfigError, Finding
from heartwood.config.toml import read_toml

if TYPE_CHECKING:
    from tomlkit.items import Table

MODE = 0o644


def set_enabled(file: Path, name: str, enabled: bool) -> None:
    """Switch the plugin ``name`` on or off in ``file``, which is made where it does not exist.

    The new text replaces the old one at once, so a crash leaves the one or the other.

    Raises:
        ConfigError: the file cannot be read or written, or its ``[plugins]`` is no table.
    """
    _, text, findings = read_toml(file) if file.exists() else ({}, "", [])
    if findings:
        raise ConfigError(findings)
    document = tomlkit.parse(text)
    try:
        plugins = document.setdefault("plugins", tomlkit.table(is_super_table=True))
        _table(plugins.setdefault(name, tomlkit.table()))["enabled"] = enabled
        _replace(file.resolve(), document.as_string())
    except (TOMLKitError, AttributeError, TypeError) as error:
        message = "expected a table such as [plugins.ocr]"
        raise ConfigError([Finding(FILE, f"plugins.{name}", None, message, file=str(file))]) from error
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise ConfigError([Finding(FILE, "", None, message, file=str(file))]) from error


def _table(value: Table) -> Table:
    value.keys()  # a plain value raises here, before it is overwritten
    return value


def _replace(file: Path, text: str) -> None:
    """Write ``text`` beside ``file``, make it durable, and rename it; owner and mode stay."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            _dress_like(stream.fileno(), file)
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _dress_like(handle: int, file: Path) -> None:
    if not file.exists():
        os.fchmod(handle, MODE)
        return
    status = file.stat()
    os.fchmod(handle, status.st_mode & 0o7777)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(handle, status.st_uid, status.st_gid)
