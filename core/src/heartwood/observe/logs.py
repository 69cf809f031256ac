"""Logs: one event, one line. Loggers belong to a kernel; nothing of structlog or ``logging`` is configured globally."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import format_exc_info

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

    from heartwood.observe.settings import ObserveSettings

_REQUEST: ContextVar[str | None] = ContextVar("heartwood_request", default=None)
_PLUGIN: ContextVar[str | None] = ContextVar("heartwood_plugin", default=None)

_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical"}
_LONGEST = 10_000
# What could break a line in two, move the cursor or turn the writing around: C0, C1, bidi marks, line separators.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_TRACE = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))


def bind_request(request_id: str | None) -> Token[str | None]:
    """Let lines of the current task carry ``request_id``; the token undoes it with ``token.var.reset(token)``."""
    return _REQUEST.set(request_id)


def bind_plugin(name: str | None) -> Token[str | None]:
    """Let lines of the current task carry the plugin ``name``, unless their logger is bound to another."""
    return _PLUGIN.set(name)


def current_request() -> str | None:
    """Return the id of the request that the current task serves, or None."""
    return _REQUEST.get()


def current_plugin() -> str | None:
    """Return the plugin that the current task works for, or None."""
    return _PLUGIN.get()


class Logs:
    """The loggers of one kernel, all writing to one stream.

    Args:
        settings: level and format.
        stream: where lines go; standard error by default.
    """

    def __init__(self, settings: ObserveSettings, stream: TextIO | None = None) -> None:
        stream = stream if stream is not None else sys.stderr
        pretty = settings.format == "console" or (settings.format == "auto" and stream.isatty())
        self._lines = _Lines(stream)
        self._render = _console(stream) if pretty else (_json_line,)
        self._processors = [_entry, *self._render]
        self._wrapper: Any = structlog.make_filtering_bound_logger(settings.level)
        self._says_info = self.logger().is_enabled_for(logging.INFO)

    @property
    def lost(self) -> int:
        """How many lines could not be written, because the disk was full or the reader gone."""
        return self._lines.lost

    def logger(self, **bound: Any) -> Any:
        """Return a structlog logger whose lines all carry ``bound``."""
        return self._wrapper(self._lines, self._processors, bound)

    def write(self, event: str, lines: Iterable[dict[str, Any]]) -> None:
        """Write many lines of the level ``info`` about one kind of event, with one write for all of them.

        It takes a fifth of what a logger takes, for there is one line for each request. What the context binds is not
        added: a line says what it has to say.
        """
        if self._says_info:
            start = {"ts": _now(), "level": "info", "event": event}
            self._lines.msg("".join([self._rendered({**start, **line}) for line in lines]))

    def _rendered(self, entry: Any) -> str:
        for process in self._render:
            entry = process(None, "info", entry)
        return str(entry)

    @contextmanager
    def capture_libraries(self) -> Iterator[None]:
        """Write what libraries say through :mod:`logging`, warnings and worse, for as long as the context lasts."""
        handler = _Library(self.logger())
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


class _Lines:
    """Writes whole lines. A log that cannot be written stops nobody; it is counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.lost = 0

    def msg(self, line: str) -> None:
        try:
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.lost += 1

    debug = info = warning = error = critical = msg


class _Library(logging.Handler):
    """Hands the records of :mod:`logging` to a logger of ours."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (a library's wrong arguments must not stop what it was doing)
            message = str(record.msg)
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # libraries invent levels in between
        self._log.log(level, message, logger=record.name, exc_info=record.exc_info)


def _entry(_: Any, method: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """Put time, level, event, plugin and request first, and name the class of an error."""
    entry = {"ts": _now(), "level": _LEVELS.get(method, method), "event": fields.pop("event", "")}
    plugin, request = _PLUGIN.get(), _REQUEST.get()
    if plugin is not None:
        entry["plugin"] = plugin
    if request is not None:
        entry["request_id"] = request
    entry.update(fields)
    if entry.get("exc_info"):
        _name_error(entry)
    return entry


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return a second since the epoch as text in UTC; kept, for a busy second is written many times."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _name_error(entry: dict[str, Any]) -> None:
    info = entry["exc_info"]
    error = info if isinstance(info, BaseException) else (info if isinstance(info, tuple) else sys.exc_info())[1]
    if error is None:
        del entry["exc_info"]
    else:
        entry.setdefault("error", type(error).__name__)
        entry["exc_info"] = (type(error), error, error.__traceback__)


def _json_line(log: Any, method: str, entry: MutableMapping[str, Any]) -> str:
    if "exc_info" in entry:
        entry = format_exc_info(log, method, entry)
    try:
        line = orjson.dumps(entry, default=_text_of).decode()
    except TypeError:  # keys that are no text, integers over 64 bit, halves of characters, circles
        line = json.dumps({_safe(str(key)): _plain(value) for key, value in entry.items()})
    return f"{line if line.isascii() else _UNSAFE.sub(_escape, line)}\n"


def _text_of(value: Any) -> str:
    """Return how a value that JSON does not know is written: bytes by their number only."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"[:_LONGEST]
    return str(value)[:_LONGEST]


def _plain(value: Any) -> Any:
    if isinstance(value, bool | float | None):
        return value
    return _text_of(value)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _safe(text: str) -> str:
    return _UNSAFE.sub(_escape, text)


def _console(stream: TextIO) -> tuple[Any, ...]:
    """Return the processors for a terminal. Tracebacks show no local variables, for these hold secrets."""
    return (
        _printable,
        format_exc_info,
        _printable_trace,
        ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain_traceback, timestamp_key="ts"),
        _with_newline,
    )


def _printable(_: Any, __: str, entry: MutableMapping[str, Any]) -> dict[str, Any]:
    kept = (int, float, type(None))
    return {
        _safe(key): value if key == "exc_info" or isinstance(value, kept) else _safe(_text_of(value))
        for key, value in entry.items()
    }


def _printable_trace(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "exception" in entry:
        entry["exception"] = _UNSAFE_TRACE.sub(_escape, entry["exception"])
    return entry


def _with_newline(_: Any, __: str, line: Any) -> str:
    return f"{line}\n"
