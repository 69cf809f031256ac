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
from heartwood.plugins.records import Phase, Record, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heartwood.plugins.discovery import Candidate


class BadPlugin(HeartwoodError):
    """What was imported is not a plugin; the sentence says why."""


def load(candidate: Candidate, *, timeout: float) -> None:
    """Import the plugin's code and make its instance; the record says what came of it.

    Whatever the code raises, ``SystemExit`` included, becomes ``failed(import)``. An import that takes longer than
    ``timeout`` seconds is left behind in its thread, which cannot be stopped.
    """
    record = candidate.record
    started = time.perf_counter()
    done: list[type[Plugin] | BaseException] = []
    thread = threading.Thread(target=_import, args=(candidate, done), name=f"import {record.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    record.import_seconds = time.perf_counter() - started
    outcome = done[0] if done else TimeoutError(f"the import took longer than {timeout:g} s (loader.import_timeout)")
    if isinstance(outcome, BaseException):
        record.fail(Phase.IMPORT, f"{_sentence(outcome)}", outcome)
        return
    adopt(record, outcome)


def adopt(record: Record, cls: type[Plugin]) -> None:
    """Check the class and make the plugin's one instance."""
    if cls.api != API:
        record.state, record.phase = State.INCOMPATIBLE, Phase.IMPORT
        record.reason = f"plugin {record.name!r} was written for plugin API {cls.api}, this is {API}"
        return
    record.requires, record.after = tuple(cls.requires), tuple(cls.after)
    try:
        record.plugin = cls()
    except BaseException as error:
        record.fail(Phase.IMPORT, f"{cls.__name__}() raised {_sentence(error)}", error)


def _import(candidate: Candidate, done: list[Any]) -> None:
    try:
        done.append(_from_file(candidate) if candidate.file else _from_package(candidate))
    except BaseException as error:
        done.append(error)


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


def _from_file(candidate: Candidate) -> type[Plugin]:
    file = candidate.file
    assert file is not None
    module = _module_of(file, f"heartwood_file_{candidate.record.name}")
    classes = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Plugin) and each.__module__ == module.__name__
    ]
    if len(classes) != 1:
        msg = f"{file} has {len(classes)} subclasses of Plugin; a single-file plugin has one"
        raise BadPlugin(msg)
    classes[0].name = candidate.record.name
    return classes[0]


def _module_of(file: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the handlers' annotations are looked up there
    run: Callable[[Any], None] = spec.loader.exec_module
    run(module)
    return module


def _sentence(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, BadPlugin | TimeoutError) else f"{type(error).__name__}: {text}".rstrip(": ")
