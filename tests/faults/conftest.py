"""Real processes to be killed: hubs and workers of the command line, PostgreSQL, Redis; and a client's ledger."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from faults.parts.form import LONG, SEED, Form
from faults.parts.hubs import Hub
from faults.parts.servers import Postgres, Redis
from processes import bin_dir, until

HERE = Path(__file__).parent


def pytest_report_header():
    """Say what repeats this run."""
    return f"faults: {'long' if LONG else 'short'} form, HEARTWOOD_FAULTS_SEED={SEED}"


def pytest_collection_modifyitems(items):
    """Give the long form time."""
    for item in items:
        if LONG and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(name="make_hub")
def _make_hub():
    """Make hubs: ``make_hub(dsn="", plugins=["steps"], **{"data.pool_size": "3"})``; they end with the test."""
    made: list[Hub] = []

    def make(dsn: str = "", *, plugins: tuple[str, ...] = ("steps",), **settings: str) -> Hub:
        folder = Path(tempfile.mkdtemp(prefix="hwt"))
        made.append(Hub(folder, dsn, settings, list(plugins)))
        return made[-1]

    yield make
    for hub in made:
        hub.end()


@pytest.fixture(name="make_postgres")
async def _make_postgres():
    """Make and start external servers: ``await make_postgres(15)``."""
    made: list[Postgres] = []

    async def make(major: int) -> Postgres:
        programs = bin_dir(major)
        if not (programs / "postgres").exists():
            pytest.skip(f"no PostgreSQL {major} on this machine")
        made.append(Postgres(Path(tempfile.mkdtemp(prefix="hwt")), programs))
        made[-1].make()
        await made[-1].start()
        return made[-1]

    yield make
    for server in made:
        if server.popen is not None and server.popen.poll() is None:
            server.send(signal.SIGCONT)
            server.popen.send_signal(signal.SIGQUIT)
            server.popen.wait(20)
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(name="redis")
def _redis():
    """A redis-server: ``start``, ``kill``, ``url``."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine")
    server = Redis(program)
    yield server
    server.end()


@pytest.fixture(name="wait")
def _wait():
    """Give :func:`until`."""
    return until


@pytest.fixture(name="form")
def _form() -> Form:
    """Give the form in which the tests run."""
    return Form(LONG, random.Random(SEED))
