"""The real server and the real commands, from start to end, with the embedded PostgreSQL."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

RECEIPT = Path(__file__).parent.parent / "data_files" / "receipt.jpg"

BUSY = """
from pathlib import Path

from attrs import frozen

from heartwood.api import Children, Job, Jobs, Permission, Plugin, Route, Transaction, hookimpl


async def work(children: Children) -> None:
    await children.run(["sleep", "3600"])


async def begin(tx: Transaction, jobs: Jobs) -> int:
    return await jobs.enqueue(tx, "work")


class Busy(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("busy.begin", "Begin it.")]

    @hookimpl
    def jobs(self):
        return [Job("work", work)]

    @hookimpl
    def routes(self):
        return [Route("POST", "/work", begin, "busy.begin")]
"""
SLOW = """
import asyncio
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Slow(Plugin):
    @hookimpl
    @asynccontextmanager
    async def lifespan(self, ctx):
        ctx.log.info("slow.entered")
        await asyncio.sleep(3600)
        yield
"""
CONFIG = """
[work]
drain = 0.2

[loader]
plugins_dir = "plugins"

[plugins.busy]
[plugins.ocr]
[plugins.metrics]
config.listen = ""
"""


@pytest.fixture(name="house", scope="module")
def _house(new_machine):
    """A machine whose cluster and tables are there."""
    with new_machine() as machine:
        machine.configure(CONFIG)
        machine.plugin("busy", BUSY)
        done = machine.run("db", "upgrade")
        assert 0 == done.returncode, done.stderr
        yield machine


def ask(machine, hub, path, method="GET"):
    token = (machine.folder / "data" / "local-token").read_text().strip()
    request = urllib.request.Request(f"{hub.url}{path}", method=method, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def until(condition, within=20.0):
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def named(hub, word):
    """Return the processes of the hub in whose command line ``word`` stands."""
    found = []
    for each in hub.look():
        try:
            found += [each] if word in " ".join(each.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "Ctrl-C"]
)
def test_the_end_leaves_no_process_behind(house, number, group):
    """With a job in a child, the server ends with 0, and PostgreSQL and the child with it; the job was not counted."""
    with house.serve() as hub:
        job = ask(house, hub, "/business/busy/work", "POST")
        until(lambda: named(hub, "sleep"))
        assert named(hub, "postgres")

        status = hub.stop(number, group=group)

        assert 0 == status, hub.said
        assert [] == hub.left()
        assert "Traceback" not in hub.said
    listed = house.run("jobs", "list", "--state", "queued")
    row = next(line.split("\t") for line in listed.stdout.splitlines() if line.startswith(f"{job}\t"))
    assert ("busy.work", "queued", "0") == tuple(row[1:4])
    assert 0 == house.run("jobs", "cancel", str(job)).returncode


def test_the_end_of_a_worker_leaves_no_process_behind(house):
    """Ctrl-C ends a worker as it does the server, with the child and the PostgreSQL that it was the last to use."""
    with house.serve("--no-jobs") as hub, house.serve(role="worker", log="worker") as worker:
        job = ask(house, hub, "/business/busy/work", "POST")
        until(lambda: named(worker, "sleep"))
        hub.stop(signal.SIGTERM)

        status = worker.stop(signal.SIGINT, group=True)

        assert 0 == status, worker.said
        assert ([], []) == (worker.left(), hub.left())
        assert "Traceback" not in worker.said
    assert 0 == house.run("jobs", "cancel", str(job)).returncode


@pytest.mark.parametrize("role", ["serve", "worker"])
def test_a_signal_is_obeyed_while_the_hub_starts(house, role):
    """Nobody waits for a plugin that takes its time: what was started is stopped, and nothing stays."""
    house.plugin("slow", SLOW)
    house.configure(CONFIG + "[plugins.slow]\n")
    try:
        with house.serve(role=role, until='"(slow.entered)"') as hub:
            status = hub.stop(signal.SIGTERM, within=10)

        assert 0 == status, hub.said
        assert [] == hub.left()
        assert '"hub.ready"' not in hub.said
        assert "Traceback" not in hub.said
    finally:
        house.configure(CONFIG)


def test_a_second_signal_ends_at_once(house):
    """Whoever does not want to wait for the jobs sends it again, and nothing is left behind then, either."""
    house.environ["HEARTWOOD__WORK__DRAIN"] = "120"
    with house.serve() as hub:
        job = ask(house, hub, "/business/busy/work", "POST")
        until(lambda: named(hub, "sleep"))
        hub.process.terminate()
        until(lambda: '"hub.stopping"' in hub.said)

        status = hub.stop(signal.SIGTERM)

        assert 128 + signal.SIGTERM == status, hub.said
        assert "Traceback" not in hub.said
        assert [] == hub.left()
    del house.environ["HEARTWOOD__WORK__DRAIN"]
    assert 0 == house.run("jobs", "cancel", str(job)).returncode


def test_a_person_at_the_terminal(house):
    """A receipt is read, found and listed by the commands alone, without an address or a token on the command line."""
    with house.serve():
        read = house.run("read", str(RECEIPT))
        found = house.run("documents", "search", "linseed", "oil")
        jobs = house.run("jobs", "list", "--plugin", "ocr")
        made = house.run("token", "create", "--name", "phone", "--scope", "documents.read")
        house.environ["HEARTWOOD_TOKEN"] = made.stdout.strip()
        listed, refused = house.run("documents", "list"), house.run("read", str(RECEIPT))
        del house.environ["HEARTWOOD_TOKEN"]

    assert (0, "") == (read.returncode, read.stderr)
    assert "MEADOW HARDWARE" in read.stdout
    assert ["ready", "receipt.jpg"] == found.stdout.split("\t")[2:4]
    assert ["ocr.read", "done", "1", "owner"] == jobs.stdout.split("\t")[1:5]
    assert made.stdout.startswith("hw_")
    assert "receipt.jpg" in listed.stdout
    assert (1, "") == (refused.returncode, refused.stdout)
    assert "documents.write" in refused.stderr


def test_commands_work_while_no_hub_runs(house):
    """The database's commands start PostgreSQL themselves and leave none behind; the API's say what to start."""
    tokens, away = house.run("token", "list"), house.run("documents", "list")

    assert 0 == tokens.returncode, tokens.stderr
    assert 1 == away.returncode
    assert "is `heartwood serve` running?" in away.stderr
    running = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert [] == [line for line in running if str(house.folder) in line]
