"""Importing plugins: each by itself, under a time limit, before the loop runs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.plugin import API, Plugin
from heartwood.plugins.records import Phase, Record, State, sentence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from heartwood.plugins.discovery import Candidate


class BadPlugin(HeartwoodError):
    """What was imported is not a plugin; the sentence says why."""


def load(candidate: Candidate, log: Any, *, timeout: float) -> None:
    """Import the plugin's code and make its instance; the record says what came of it.

    Whatever the code raises, ``SystemExit`` included, becomes ``failed(import)``. A quarter of ``timeout`` seconds is
    worth a warning; code that takes longer than all of it is left behind in its thread, which cannot be stopped.
    """
    record = candidate.record
    started = time.perf_counter()
    done: list[Plugin | BaseException] = []
    thread = threading.Thread(
        target=lambda: done.append(_outcome(lambda: _import(candidate))), name=f"import {record.name}", daemon=True
    )
    thread.start()
    thread.join(timeout / 4)
    if thread.is_alive():
        log.warning("plugin.slow_import", plugin=record.name, seconds=timeout / 4, limit=timeout)
        thread.join(timeout * 3 / 4)
    record.import_seconds = time.perf_counter() - started
    late = BadPlugin(f"the import took longer than {timeout:g} s (loader.import_timeout)")
    _settle(record, done[0] if done else late)


def adopt(record: Record, cls: type[Plugin]) -> None:
    """Check a class that is imported already, and make the plugin's one instance."""
    _settle(record, _outcome(lambda: cls))


class _WrongInterface(BadPlugin):
    """It was written for another number of the plugin interface."""


def _outcome(find: Callable[[], type[Plugin]]) -> Plugin | BaseException:
    """Return an instance of the class that ``find`` returns, or what went wrong."""
    try:
        cls = find()
        _check(cls)
        return cls()
    except BaseException as error:  # noqa: BLE001  (plugins call sys.exit, and raise what they like)
        return error


def _check(cls: type[Plugin]) -> None:
    if cls.api != API:
        msg = f"plugin {cls.name!r} was written for plugin API {cls.api}, this is {API}"
        raise _WrongInterface(msg)
    for key in ("requires", "after"):
        names = getattr(cls, key)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            msg = f"{key} of plugin {cls.name!r} must be a tuple of names such as ('ocr',), got {names!r}"
            raise BadPlugin(msg)


def _settle(record: Record, outcome: Plugin | BaseException) -> None:
    if isinstance(outcome, Plugin):
        record.plugin = outcome
        record.requires, record.after = tuple(outcome.requires), tuple(outcome.after)
    elif isinstance(outcome, _WrongInterface):
        record.state, record.phase, record.reason = State.INCOMPATIBLE, Phase.IMPORT, str(outcome)
    else:
        record.fail(Phase.IMPORT, sentence(outcome), outcome)


def _import(candidate: Candidate) -> type[Plugin]:
    return _from_file(candidate.record.name, candidate.file) if candidate.file else _from_package(candidate)


def _from_package(candidate: Candidate) -> type[Plugin]:
    module, _, attribute = candidate.reference.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        msg = f"{candidate.reference} is not a subclass of heartwood.api.Plugin"
        raise BadPlugin(msg)
    name = getattr(found, "name", None)
    if name != candidate.record.name:
        msg = f"the entry point is called {candidate.record.name!r} and the class calls itself {name!r}"
        raise BadPlugin(msg)
    return found


def _from_file(name: str, file: Path) -> type[Plugin]:
    module = _module_of(file, f"heartwood_file_{name}")
    classes = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Plugin) and each.__module__ == module.__name__
    ]
    if len(classes) != 1:
        msg = f"{file} has {len(classes)} subclasses of Plugin; a single-file plugin has one"
        raise BadPlugin(msg)
    stated = getattr(classes[0], "name", name)
    if stated != name:
        msg = f"the file is called {file.name} and the class calls itself {stated!r}"
        raise BadPlugin(msg)
    classes[0].name = name
    return classes[0]


def _module_of(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        msg = f"{file} cannot be imported"
        raise BadPlugin(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the handlers' annotations are looked up there
    spec.loader.exec_module(module)
    return module
