"""One event is one line, whatever stands in it, and no secret does."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import attrs
import pytest
import structlog

from heartwood.contracts.settings import Secret
from heartwood.observe.logs import Logs, bind_plugin, bind_request, current_plugin, current_request
from heartwood.observe.settings import ObserveSettings

HOSTILE = [
    "a\nb",
    "a\r\nb",
    "\x1b[31mred\x1b[0m",
    "\u202eevil\u202c",
    "line\u2028separator\u2029paragraph\x85next",
    "nul\x00bell\x07",
    "half a character \ud800",
    '"} {"event": "forged"}',
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class FullDisk(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def logs(stream, **settings):
    return Logs(ObserveSettings(**settings), stream)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(name="stream")
def _stream():
    return io.StringIO()


def test_a_line_is_one_json_object_with_time_level_and_event_first(stream):
    """Off a terminal an event is one JSON object whose first keys are always the same."""
    logs(stream).logger(plugin="ocr").info("page.read", pages=3)
    [entry] = lines(stream)
    assert list(entry) == ["ts", "level", "event", "plugin", "pages"]
    assert (entry["level"], entry["event"], entry["plugin"], entry["pages"]) == ("info", "page.read", "ocr", 3)
    assert entry["ts"].endswith("Z")
    assert len(entry["ts"]) == 27


def test_plugin_and_request_come_from_the_task(stream):
    """Lines carry the plugin and the request of the task that writes them, and of no other task."""
    log = logs(stream).logger()

    async def work(plugin, request):
        bind_plugin(plugin)
        bind_request(request)
        await asyncio.sleep(0)
        log.info("worked")
        return current_plugin(), current_request()

    async def both():
        return await asyncio.gather(work("ocr", "r1"), work("ai", "r2"))

    assert asyncio.run(both()) == [("ocr", "r1"), ("ai", "r2")]
    assert [(entry["plugin"], entry["request_id"]) for entry in lines(stream)] == [("ocr", "r1"), ("ai", "r2")]


def test_a_bound_plugin_wins_over_the_task(stream):
    """A logger that belongs to a plugin names it, also when another plugin's task uses it."""
    log = logs(stream).logger(plugin="ocr")

    async def work():
        bind_plugin("ai")
        log.info("worked")

    asyncio.run(work())
    assert lines(stream)[0]["plugin"] == "ocr"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("output", ["json", "console"])
def test_hostile_text_stays_on_its_line(stream, text, output):
    """No text breaks a line in two, moves the cursor or turns the writing around, in key, event or value."""
    logs(stream, format=output).logger().info(text, name=text, **{text: 1})
    written = stream.getvalue()
    assert len(written.splitlines()) == 1
    assert not {"\x1b", "\u202e", "\u2028", "\x85", "\x00", "\ud800"} & set(written)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_back_as_it_was(stream, text):
    """Escaping changes how a line is written and not what it says."""
    logs(stream).logger().info("received", name=text)
    assert text == lines(stream)[0]["name"]


@pytest.mark.parametrize("output", ["json", "console"])
def test_secrets_and_bytes_are_not_written(stream, output):
    """A secret is written as three stars, wherever it stands, and bytes are written as their number."""

    @attrs.frozen
    class Settings:
        key: Secret

    secret = Secret("hunter2")
    log = logs(stream, format=output).logger(config=Settings(secret))
    log.info("started", secret=secret, nested={"deep": [secret]}, body=b"hunter2", view=memoryview(b"hunter2"))
    assert "hunter2" not in stream.getvalue()
    assert "***" in stream.getvalue()
    assert "<7 bytes>" in stream.getvalue()


@pytest.mark.parametrize("output", ["json", "console"])
def test_tracebacks_show_no_local_variables(stream, output):
    """An error is written with its class and traceback, and without the values of variables."""

    def fail(_password):
        msg = "broken"
        raise ValueError(msg)

    try:
        fail("hunter" + "2")
    except ValueError:
        logs(stream, format=output).logger().exception("failed")
    assert "ValueError: broken" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_an_error_is_one_line_with_its_class(stream):
    """In JSON the traceback is a field, and the class of the error another."""
    logs(stream).logger().error("failed", exc_info=ValueError("broken"))
    [entry] = lines(stream)
    assert entry["error"] == "ValueError"
    assert entry["exception"].endswith("ValueError: broken")


def test_values_that_json_does_not_know_are_written_as_text(stream):
    """A line is never lost because of what somebody put in it."""
    circle: list = []
    circle.append(circle)
    logs(stream).logger().info("odd", large=2**70, circle=circle, error=OSError("gone"), keys={(1, 2): 3})
    [entry] = lines(stream)
    assert str(2**70) == entry["large"]
    assert entry["error"] == "OSError: gone"


def test_lines_below_the_level_are_left_out(stream):
    """``level`` is the least important line that is written."""
    log = logs(stream, level="warning").logger()
    log.info("left out")
    log.warning("written")
    assert [entry["event"] for entry in lines(stream)] == ["written"]


def test_a_terminal_gets_colours_and_no_json():
    """At a terminal a line is made for people."""
    terminal = Terminal()
    logs(terminal).logger(plugin="ocr").info("page.read", pages=3)
    written = terminal.getvalue()
    assert "\x1b[" in written
    assert "page.read" in written
    assert not written.startswith("{")


def test_a_log_that_cannot_be_written_stops_nobody():
    """A full disk or a closed stream costs lines, which are counted."""
    full, closed = logs(FullDisk()), io.StringIO()
    full.logger().info("lost")
    gone = logs(closed)
    closed.close()
    gone.logger().info("lost")
    assert (full.lost, gone.lost) == (1, 1)


def test_two_kernels_share_nothing():
    """Loggers of two kernels have streams, levels and formats of their own, and structlog itself is not configured."""
    first, second = io.StringIO(), io.StringIO()
    one, two = logs(first, level="error").logger(hub="one"), logs(second, level="debug").logger(hub="two")
    one.info("left out")
    two.debug("written")
    assert first.getvalue() == ""
    assert [entry["hub"] for entry in lines(second)] == ["two"]
    assert not structlog.is_configured()


def test_libraries_are_captured_for_as_long_as_asked(stream):
    """Warnings of libraries become our lines within the context, and logging is left as it was."""
    before = list(logging.getLogger().handlers)
    library = logging.getLogger("some.library")
    with logs(stream).capture_libraries():
        library.info("not this")
        library.warning("low on %s", "paper")
        library.log(35, "a level in between")
        wrong = logging.LogRecord("some.library", 30, "", 1, "wrong %d arguments", ("text",), None)
        logging.getLogger().handlers[-1].handle(wrong)
    assert before == logging.getLogger().handlers
    assert [(entry["logger"], entry["level"], entry["event"]) for entry in lines(stream)] == [
        ("some.library", "warning", "low on paper"),
        ("some.library", "warning", "a level in between"),
        ("some.library", "warning", "wrong %d arguments"),
    ]
