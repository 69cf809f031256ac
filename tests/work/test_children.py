"""Child processes: what they may do, how they are ended, and that none is left over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
import structlog
import uvloop

from heartwood.contracts.children import ChildFailed, Limits
from heartwood.contracts.errors import Unavailable
from heartwood.work.child import HEADER, pack, unpack
from heartwood.work.children import ChildPool, ChildSettings

FUNCTIONS = """
import os, subprocess, sys, time

def echo(**payload):
    return payload

def where():
    return {"pid": os.getpid(), "nice": os.nice(0), "omp": os.environ.get("OMP_THREAD_LIMIT"),
            "secret": os.environ.get("SECRET_OF_THE_HUB"), "group": os.getpgid(0)}

def fail():
    raise ValueError("the page is upside down")

def die():
    os._exit(3)

def spin():
    while True:
        pass

def hoard():
    return len(bytearray(1 << 40))

def long_answer(size):
    return b"x" * size

def no_answer():
    return object()

def noisy():
    print("a library that writes to standard output")
    sys.stdin.read()
    return "heard"

def leave_behind(file):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(file, "w") as stream:
        stream.write(str(child.pid))
    time.sleep(600)
"""


@pytest.fixture(name="functions", autouse=True)
def _functions(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "child_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture(name="pool")
async def _pool():
    pool = ChildPool(ChildSettings(pool=2), structlog.get_logger())
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield pool
    await pool.close()
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert left == [], "a child outlived the pool, or was never reaped"


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", textwrap.dedent(code)]


@pytest.mark.parametrize(
    "value",
    [None, 7, 1.5, "ä\u2028", b"", b"\x00\xff", [1, [b"a", {"k": b"b"}]], {"a": {"b": b"xy"}, "c": [b"z", "t"]}],
)
def test_frame_carries_json_and_bytes(value):
    """A frame gives back exactly the value it was made from."""
    frame = pack(value)
    text, data = HEADER.unpack(frame[: HEADER.size])
    body = frame[HEADER.size :]
    assert text + data == len(body)
    assert value == unpack(body[:text], body[text:])


async def test_call_returns_what_the_function_returned(pool):
    """Payload and answer go through unchanged, bytes included."""
    payload = {"image": b"\x89PNG\x00", "languages": ["eng", "deu"], "page": {"number": 3}}
    assert payload == await pool.call("child_functions:echo", payload)


async def test_child_is_niced_alone_and_knows_no_secret(pool, monkeypatch):
    """A child has its own process group, gives way, keeps Tesseract to one thread, and inherits no environment."""
    monkeypatch.setenv("SECRET_OF_THE_HUB", "hunter2")
    found = await pool.call("child_functions:where", {})
    assert found["pid"] == found["group"]
    assert found["nice"] >= 5
    assert (found["omp"], found["secret"]) == ("1", None)


async def test_child_is_used_again_and_recycled():
    """A child answers ``recycle`` calls; the next call meets a fresh one."""
    pool = ChildPool(ChildSettings(pool=1, recycle=2), structlog.get_logger())
    pids = [(await pool.call("child_functions:where", {}))["pid"] for _ in range(3)]
    await pool.close()
    assert pids[0] == pids[1]
    assert pids[1] != pids[2]


@pytest.mark.parametrize(
    ("function", "limits", "sentence", "limit"),
    [
        ("fail", Limits(), "ValueError: the page is upside down", None),
        ("die", Limits(), "status 3", None),
        ("hoard", Limits(), "memory", "memory"),
        ("no_answer", Limits(), "cannot be sent", None),
        ("missing", Limits(), "has no attribute 'missing'", None),
        ("spin", Limits(wall=0.3), "longer than 0.3 s", "time"),
        ("spin", Limits(cpu=1), "processor time", "processor time"),
    ],
)
async def test_broken_call_says_why_and_the_pool_goes_on(pool, function, limits, sentence, limit):
    """Whatever becomes of a child, the caller gets one sentence, and the next call is answered."""
    with pytest.raises(ChildFailed) as caught:
        await pool.call(f"child_functions:{function}", {}, limits=limits)
    assert sentence in caught.value.reason
    assert limit == caught.value.limit
    assert await pool.call("child_functions:echo", {"again": 1}) == {"again": 1}


async def test_answer_is_bounded(pool):
    """A child cannot fill the memory of its parent."""
    with pytest.raises(ChildFailed, match="more than 1000 bytes"):
        await pool.call("child_functions:long_answer", {"size": 100_000}, limits=Limits(output=1000))


async def test_what_a_library_prints_does_not_disturb_the_answer(pool):
    """The socket is not the child's standard input or output."""
    assert await pool.call("child_functions:noisy", {}) == "heard"


async def test_no_more_children_than_places(pool):
    """Ten calls at once are answered by at most as many children as the pool is large."""
    answers = await asyncio.gather(*(pool.call("child_functions:where", {}) for _ in range(10)))
    assert len({answer["pid"] for answer in answers}) <= 2


async def test_a_child_killed_while_idle_is_replaced(pool, eventually):
    """The next call after the death of an idle child does not notice it."""
    pid = (await pool.call("child_functions:where", {}))["pid"]
    idle = psutil.Process(pid)
    idle.kill()
    while psutil.pid_exists(pid) and idle.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)  # the loop is kept from noticing that it is gone
    assert pid != (await pool.call("child_functions:where", {}))["pid"]


async def test_a_child_killed_at_work_is_told(pool, eventually):
    """After a kill -9 the caller gets a sentence, also where the system did it for want of memory; the pool goes on."""
    waiting = asyncio.create_task(pool.call("child_functions:spin", {}))
    await eventually(_ours)
    os.kill(_ours()[0].pid, signal.SIGKILL)
    with pytest.raises(ChildFailed, match="child_functions:spin was killed by SIGKILL"):
        await waiting
    assert await pool.call("child_functions:echo", {"again": 1}) == {"again": 1}


async def test_limit_ends_the_whole_group(pool, tmp_path, eventually):
    """A program that the child had started is gone with it."""
    file = tmp_path / "pid"
    with pytest.raises(ChildFailed):
        await pool.call("child_functions:leave_behind", {"file": str(file)}, limits=Limits(wall=1.0))
    grandchild = int(file.read_text())
    await eventually(lambda: not _runs(grandchild))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_close_ends_what_is_running(pool):
    """Callers that wait while the pool closes are told that the hub is stopping, and new work is refused."""
    waiting = asyncio.create_task(pool.call("child_functions:spin", {}))
    await pool.call("child_functions:where", {})
    await pool.close()
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    with pytest.raises(Unavailable, match="stopping"):
        await pool.run(["true"])


async def test_cancelled_call_kills_its_child(pool, eventually):
    """Cancelling the caller ends the child that worked for it."""
    waiting = asyncio.create_task(pool.call("child_functions:spin", {}))
    await eventually(lambda: bool(_ours()))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: not _ours())


def _ours() -> list[psutil.Process]:
    """The children of this process that serve calls; a test session has others, a database among them."""
    return [child for child in psutil.Process().children() if "heartwood.work.child" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(params=["sandbox", "limits only"])
def boxed(request, monkeypatch, tmp_path):
    """Whether bubblewrap is there."""
    if request.param == "limits only":
        bin_dir = tmp_path / "bin"
        bin_dir.mkdir()
        for name in ("sh", "cat", "true"):
            (bin_dir / name).symlink_to(f"/usr/bin/{name}")
        monkeypatch.setenv("PATH", str(bin_dir))
    return request.param == "sandbox"


async def test_program_reads_inputs_and_writes_output(boxed, pool, tmp_path):
    """Placeholders become paths at which the child finds its input and may leave its output."""
    source, output = tmp_path / "-rf $(x).pdf", tmp_path / "out"
    source.write_bytes(b"bytes from outside")
    output.mkdir()
    code = "import sys, pathlib; pathlib.Path(sys.argv[2], 'copy').write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
    done = await pool.run([*python(code), "{input}", "{output}"], inputs={"input": source}, output=output)
    assert (done.status, done.stderr) == (0, b"")
    assert (output / "copy").read_bytes() == b"bytes from outside"
    assert boxed == await pool.sandboxed()


async def test_program_gets_stdin_and_its_status_is_returned(boxed, pool):
    """Input, output, error output and a status other than 0 come back; none of it raises."""
    done = await pool.run(["sh", "-c", "cat; echo oh >&2; exit 4"], stdin=b"hello" * 100_000)
    assert (done.status, done.stdout, done.stderr) == (4, b"hello" * 100_000, b"oh\n")


async def test_program_that_is_not_there(boxed, pool):
    """An unknown program ends with a status and a sentence, as it does in a shell."""
    done = await pool.run(["no-such-program"])
    assert done.status != 0
    assert b"no-such-program" in done.stderr


@pytest.mark.parametrize(
    ("code", "limits", "limit"),
    [
        ("while True: pass", Limits(cpu=1), "processor time"),
        ("import time; time.sleep(60)", Limits(wall=0.5), "time"),
        ("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)", Limits(wall=0.5), "time"),
        ("while True: print('x' * 10000)", Limits(output=100_000), "output"),
    ],
)
async def test_program_over_a_limit_is_broken_off(boxed, pool, code, limits, limit):
    """Time, processor time and output are limited with and without bubblewrap, also where SIGTERM is ignored."""
    with pytest.raises(ChildFailed) as caught:
        await pool.run(python(code), limits=limits)
    assert limit == caught.value.limit


async def test_program_cannot_write_a_huge_file_or_take_all_memory(boxed, pool, tmp_path):
    """The limits on file size and memory are seen by the program as errors."""
    code = """
        import sys
        for attempt in (lambda: bytearray(1 << 40), lambda: open(sys.argv[1] + "/f", "wb").write(bytes(1 << 21))):
            try:
                attempt()
            except (MemoryError, OSError) as error:
                print(type(error).__name__)
    """
    done = await pool.run([*python(code), "{output}"], output=tmp_path, limits=Limits(file=1 << 20))
    assert done.stdout == b"MemoryError\nOSError\n"


async def test_sandbox_shows_nothing_of_the_machine(pool):
    """In bubblewrap there is no network, no home, no password file, and nothing to write to but /tmp and /out."""
    code = """
        import os, socket
        def tried(action):
            try:
                action()
            except OSError:
                return "refused"
            return "allowed"
        print(tried(lambda: socket.create_connection(("127.0.0.1", 22), 1)), tried(lambda: open("/etc/passwd")),
              tried(lambda: os.listdir("/home")), tried(lambda: open("/usr/x", "w")),
              tried(lambda: open("/tmp/x", "w")))
    """
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    done = await pool.run(python(code.replace("22", str(port))))
    listener.close()
    await listener.wait_closed()
    assert done.stdout == b"refused refused refused refused allowed\n"


async def test_required_sandbox_refuses_without_it(monkeypatch):
    """With ``sandbox = require`` and no bubblewrap nothing is started, and the sentence says what to do."""
    monkeypatch.setenv("PATH", "/nonexistent")
    pool = ChildPool(ChildSettings(sandbox="require"), structlog.get_logger())
    with pytest.raises(ChildFailed, match="install it, or set 'auto'"):
        await pool.run(["true"])
    await pool.close()


async def test_missing_sandbox_is_said_once(monkeypatch):
    """Without bubblewrap work goes on under limits, and one line of the log says so."""
    monkeypatch.setenv("PATH", "/nonexistent")
    lines = structlog.testing.CapturingLogger()
    pool = ChildPool(ChildSettings(), structlog.wrap_logger(lines, processors=[]))
    await asyncio.gather(*(pool.run(["/usr/bin/true"]) for _ in range(3)))
    await pool.close()
    assert [call.kwargs["event"] for call in lines.calls] == ["children.no_sandbox"]


def test_children_work_under_uvloop():
    """On the loop that the server runs on, calls, programs and limits work the same, and nothing is left."""

    async def use() -> None:
        pool = ChildPool(ChildSettings(pool=1), structlog.get_logger())
        assert await pool.call("child_functions:echo", {"a": b"b"}) == {"a": b"b"}
        assert (await pool.run(["sh", "-c", "cat"], stdin=b"hello")).stdout == b"hello"
        with pytest.raises(ChildFailed, match="longer than"):
            await pool.call("child_functions:spin", {}, limits=Limits(wall=0.3))
        with pytest.raises(ChildFailed, match="processor time"):
            await pool.run(python("while True: pass"), limits=Limits(cpu=1))
        await pool.call("child_functions:echo", {})
        await pool.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
    assert _ours() == []


def test_children_end_with_their_parent(tmp_path, functions):
    """After SIGKILL of the hub, a busy child, its program and a sandboxed program are gone within a second."""
    script = tmp_path / "hub.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, sys, structlog
        sys.path.insert(0, {str(tmp_path / "code")!r})
        from heartwood.work.children import ChildPool, ChildSettings
        async def main():
            pool = ChildPool(ChildSettings(pool=4), structlog.get_logger())
            calls = [pool.call("child_functions:spin", {{}}), pool.run([sys.executable, "-c", "while True: pass"])]
            await asyncio.gather(*calls)
        asyncio.run(main())
        """)
    )
    with subprocess.Popen([sys.executable, script]) as hub:
        me = psutil.Process(hub.pid)
        while len(me.children(recursive=True)) < 3:  # the child, bubblewrap, and the program inside
            assert hub.poll() is None
        children = me.children(recursive=True)
        hub.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert [child for child in alive if _runs(child.pid)] == []


def test_child_module_is_light():
    """A child imports nothing outside the standard library before its first call."""
    heavy = "('attrs', 'attr', 'asyncio', 'asyncpg')"
    code = f"import sys, heartwood.work.child; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_launcher_runs_by_itself():
    """The launcher is a file that can run by itself, without the site packages."""
    from heartwood.work import child

    argv = [sys.executable, "-I", "-S", child.__file__, "launch"]
    setup = json.dumps({"parent": os.getpid(), "nice": 0, "cpu": 5, "memory": 10**9, "file": 1, "files": 20})
    done = subprocess.run(
        [*argv, setup, "sh", "-c", "ulimit -n; ulimit -t"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "20\n5\n"
