"""Run by the conformance test in a process of its own: imports a plugin and asks its hooks, and watches for I/O.

Arguments: references ``name=module:Class=file`` of the plugin and of those beside it; standard input: what would
stand in ``plugins.toml``. The last line it prints is a JSON list of what it saw, in sentences.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartwood.config.sources import read_layers
from heartwood.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from heartwood.plugins.plugin import Plugin

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = {
    "socket": "connect bind sendto getaddrinfo gethostbyname gethostbyaddr",
    "subprocess": "Popen",
    "os": "system posix_spawn exec fork forkpty mkdir remove rmdir rename link symlink truncate chmod chown",
    "sqlite3": "connect",
}
"""Audit events of CPython that stand for I/O; reading files is how modules are imported and stays allowed."""


class Watch:
    """Refuses I/O and remembers it, also where the plugin swallows the refusal."""

    def __init__(self, package: str) -> None:
        self.seen: list[str] = []
        self._package = package
        self._during: str | None = None

    def during(self, what: str | None) -> None:
        """Name what is going on now; None lets everything pass."""
        self._during = what

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told of an audit event."""
        if self._during is None or not _is_io(event, arguments):
            return
        what = f"{event}({', '.join(repr(each) for each in arguments[-1 if event.startswith('socket') else 0 :][:1])})"
        self.seen.append(f"{what} {self._during}{self._place()}")
        raise RuntimeError(self.seen[-1])

    def _place(self) -> str:
        for frame, line in traceback.walk_stack(None):
            if str(frame.f_globals.get("__name__")).partition(".")[0] == self._package:
                return f" in line {line} of {frame.f_code.co_filename}"
        return ""


def _is_io(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return bool(flags & WRITING) and path != os.devnull
    module, _, name = event.partition(".")
    return name in REFUSED.get(module, "").split()


def main(references: Sequence[str], settings: str) -> list[str]:
    """Return what the import of the first reference, and the hooks of all, did that they should not do."""
    watch = Watch(re.split(r"[=.:]", references[0])[1])
    sys.addaudithook(watch.hear)
    try:
        watch.during("at import")
        first = _found(references[0])
        watch.during(None)
        others = [_found(each) for each in references[1:]]
        _ask(watch, [cls for cls in (first, *others) if cls], settings)
    except BaseException as error:  # noqa: BLE001  (what the plugin raises, sys.exit included, is what is looked for)
        if not watch.seen:
            watch.seen.append(f"{type(error).__name__}: {error}")
    watch.during(None)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return watch.seen + [f"the thread {name!r} was started" for name in left]


def _ask(watch: Watch, classes: Sequence[type[Plugin]], settings: str) -> None:
    """Let a kernel ask all hooks but ``lifespan``; what it finds wrong is told where the hub runs.

    One without plugins goes first, so that what the kernel itself imports late is not laid at the plugin's door.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plugins.toml")
        file.write_text(settings, encoding="utf-8")
        layers = read_layers(file, {}, ())
        Kernel(layers, role="command", plugins=(), environ={})
        watch.during("in a hook")
        try:
            Kernel(layers, role="command", plugins=classes, environ={}).migration_sources()
        finally:
            watch.during(None)


def _found(reference: str) -> type[Plugin] | None:
    """Import the module, by its file where it cannot be found by name; None for a class inside of a function."""
    name, place, file = reference.split("=", 2)
    module, _, attribute = place.partition(":")
    found: Any = _module(module, file)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        return None
    found.name = name  # type: ignore[attr-defined]  # a single-file plugin is named by its file
    return found


def _module(name: str, file: str) -> ModuleType:
    try:
        known = importlib.util.find_spec(name)
    except ImportError:
        known = None
    if known is not None:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, f"{file} is no Python file"
    assert spec.loader is not None, f"{file} is no Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    seen = main(sys.argv[1:], sys.stdin.read())
    sys.stdout.write(f"\n{json.dumps(seen)}\n")
    sys.stdout.flush()
    os._exit(0)  # a thread that the plugin left must not hold up the answer
