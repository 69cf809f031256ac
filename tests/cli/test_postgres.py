"""``heartwood postgres`` runs the embedded server as a unit of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from heartwood.testing.database import folder_for_cluster

HEARTWOOD = Path(sys.executable).with_name("heartwood")


@pytest.fixture(name="environ")
def _environ():
    """An environment with empty folders for one hub, and nothing else that it would read."""
    base = folder_for_cluster()
    base.chmod(0o711)
    yield {"PATH": os.environ["PATH"], "STATE_DIRECTORY": f"{base}/data", "RUNTIME_DIRECTORY": f"{base}/run"}
    shutil.rmtree(base)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_prints_the_address_and_runs_until_it_is_told_to_stop(number, environ):
    """The address works while it runs; SIGTERM or Ctrl-C ends it with status 0 and no process is left."""
    with subprocess.Popen([HEARTWOOD, "postgres"], env=environ, stdout=subprocess.PIPE, text=True) as process:
        connection = await asyncpg.connect(process.stdout.readline().strip())
        assert await connection.fetchval("select current_user") == "heartwood_work"
        await connection.close()
        (pid_file,) = Path(environ["STATE_DIRECTORY"]).glob("pg*/postmaster.pid")
        pid = int(pid_file.read_text().split()[0])
        process.send_signal(number)
        assert process.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_with_an_external_server_there_is_nothing_to_run(environ):
    """One line says which setting names the other server."""
    argv = [HEARTWOOD, "postgres"]
    environ["DATABASE_URL"] = "postgresql://u:hidden@h/d"
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: data.database_url (or POSTGRES_…) names another server: there is no embedded one to run\n"
    )


def test_a_wrong_setting_is_named(environ):
    """The variable, the key and what was expected."""
    environ["HEARTWOOD__DATA__POOL_SIZE"] = "many"
    done = subprocess.run([HEARTWOOD, "postgres"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "data.pool_size: expected" in done.stderr
    assert "HEARTWOOD__DATA__POOL_SIZE" in done.stderr


def test_a_command_runs_with_the_tools_of_the_server(environ):
    """The tool psql is the server's own, connects as the owner of the tables, and its exit status is passed on."""
    argv = [HEARTWOOD, "postgres", "psql", "-At", "-c", "select current_user"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heartwood\n")
    done = subprocess.run([*argv[:3], "-c", "nonsense"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    done = subprocess.run([*argv[:2], "no-such-tool"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: no-such-tool cannot be run: No such file or directory"
