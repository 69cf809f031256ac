"""``heartwood jobs``, typed as an operator does, on a real database."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from click.testing import CliRunner

from heartwood.cli.app import root
from heartwood.contracts.errors import HeartwoodError

CONFIG = """
[plugins.ocr]
enabled = false

[plugins.metrics]
enabled = false
"""

JOBS = """
insert into queue.pgqueuer (entrypoint, priority, status, attempts, reason, headers) values
    ('notes.read', 0, 'queued', 0, null, '{"person": 1, "name": "owner"}'),
    ('notes.read', 0, 'failed', 3, 'ValueError: no ink', null),
    ('ocr.read', 0, 'picked', 1, null, null);
insert into queue.pgqueuer_log (job_id, status, entrypoint, priority, attempt, reason, created) values
    (2, 'picked', 'notes.read', 0, null, null, '2026-11-25 12:00'),
    (2, 'queued', 'notes.read', 0, 1, 'ValueError: no pen', '2026-11-25 12:01'),
    (2, 'picked', 'notes.read', 0, null, null, '2026-11-25 12:02'),
    (2, 'failed', 'notes.read', 0, 3, 'ValueError: no ink', '2026-11-25 12:03')
"""


def _ask(dsn: str, sql: str):
    async def ask():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(sql) if sql.startswith("select") else await connection.execute(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture(name="heartwood")
def _heartwood(dsn, tmp_path, monkeypatch):
    """Type a command on a database with a waiting (1), a dead (2) and a running job (3)."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    (tmp_path / "plugins.toml").write_text(CONFIG)
    start = ("--config", str(tmp_path / "plugins.toml"), "--data", str(tmp_path / "data"))

    def type_(*words):
        return CliRunner().invoke(root, [*start, *words])

    assert 0 == type_("db", "upgrade").exit_code
    _ask(dsn, JOBS)
    return type_


def test_list_prints_a_line_a_job(heartwood):
    """Newest first: id, name, state, attempts, for whom, when it changed, and why."""
    result = heartwood("jobs", "list")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert 0 == result.exit_code
    assert [["3", "ocr.read", "running", "1", ""], ["2", "notes.read", "dead", "3", ""],
            ["1", "notes.read", "queued", "0", "owner"]] == [line[:5] for line in lines]  # fmt: skip
    assert ["", "ValueError: no ink", ""] == [line[6] for line in lines]


def test_list_by_state_and_plugin(heartwood):
    """Options narrow the list; a state that does not exist is a usage error that names those that do."""
    dead = heartwood("jobs", "list", "--state", "dead", "--state", "running", "--plugin", "notes").stdout
    wrong = heartwood("jobs", "list", "--state", "broken")
    assert ["2"] == [line.split("\t")[0] for line in dead.splitlines()]
    assert 2 == wrong.exit_code
    assert "'queued', 'running', 'done', 'dead', 'cancelled'" in wrong.stderr


def test_list_goes_on_where_the_page_ended(heartwood):
    """The option for the next page stands on standard error, so that the list can be piped on."""
    first = heartwood("jobs", "list", "--limit", "2")
    words = first.stderr.removeprefix("more: ").split()
    second = heartwood("jobs", "list", "--limit", "2", *words)
    assert ["3", "2"] == [line.split("\t")[0] for line in first.stdout.splitlines()]
    assert ["1"] == [line.split("\t")[0] for line in second.stdout.splitlines()]
    assert "" == second.stderr


def test_a_cursor_that_is_none_is_a_sentence(heartwood):
    """The error is one that ``main`` prints without a traceback."""
    result = heartwood("jobs", "list", "--cursor", "nonsense")
    assert isinstance(result.exception, HeartwoodError)
    assert "The cursor cannot be used" == str(result.exception)


def test_show_prints_the_attempts(heartwood):
    """The job in one line, then its attempts with when and why each ended."""
    lines = heartwood("jobs", "show", "2").stdout.splitlines()
    assert "notes.read 2: dead, ValueError: no ink" == lines[0]
    assert [
        "1\t2026-11-25 12:00:00\t2026-11-25 12:01:00\tqueued\tValueError: no pen",
        "2\t2026-11-25 12:02:00\t2026-11-25 12:03:00\tdead\tValueError: no ink",
    ] == lines[1:]


def test_retry_queues_dead_jobs_and_names_the_others(heartwood, dsn):
    """Each job for itself: what can be done is done and audited, the rest is told and makes the exit status 1."""
    result = heartwood("jobs", "retry", "1", "2", "77")
    assert 1 == result.exit_code
    assert "2 queued\n" == result.stdout
    assert "Job 1 is queued; only a dead one can be tried again" in result.stderr
    assert "There is no job 77" in result.stderr
    assert [("queued", 0)] == [tuple(r) for r in _ask(dsn, "select status, attempts from queue.pgqueuer where id = 2")]
    assert [("command line", "command", "jobs.retry", "job:2")] == [
        tuple(row) for row in _ask(dsn, "select actor, via, action, subject from core.audit")
    ]


def test_cancel_ends_jobs(heartwood, dsn):
    """Waiting, running and dead ones leave the queue and are shown as cancelled."""
    result = heartwood("jobs", "cancel", "1", "2", "3")
    assert (0, "1 cancelled\n2 cancelled\n3 cancelled\n") == (result.exit_code, result.stdout)
    assert [] == _ask(dsn, "select id from queue.pgqueuer")
    assert "notes.read 1: cancelled, cancelled by command line\n" == heartwood("jobs", "show", "1").stdout


def test_show_of_an_unknown_job_is_a_sentence(heartwood):
    """As above."""
    result = heartwood("jobs", "show", "77")
    assert isinstance(result.exception, HeartwoodError)
    assert "There is no job 77, or it ended longer ago than work.log_keep_days" == str(result.exception)
