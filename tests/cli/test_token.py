"""``heartwood token``, typed as an operator does, on a real database."""

from __future__ import annotations

import asyncio
import hashlib
import re

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


def _ask(dsn: str, sql: str):
    async def ask():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    return [tuple(row) for row in asyncio.run(ask())]


@pytest.fixture(name="heartwood")
def _heartwood(dsn, tmp_path, monkeypatch):
    """Type a command on a migrated database: ``heartwood("token", "list")`` returns click's result."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    (tmp_path / "plugins.toml").write_text(CONFIG)
    start = ("--config", str(tmp_path / "plugins.toml"), "--data", str(tmp_path / "data"))

    def type_(*words):
        return CliRunner().invoke(root, [*start, *words])

    assert 0 == type_("db", "upgrade").exit_code
    _ask(dsn, "insert into core.person (name, role) values ('rita', 'reader')")
    return type_


def test_create_prints_the_token_alone(heartwood, dsn):
    """Standard output can be piped on; what is worth knowing stands on standard error; the database has the hash."""
    result = heartwood("token", "create", "--name", "laptop", "--expires", "7")

    assert 0 == result.exit_code
    text = result.stdout.rstrip("\n")
    assert re.fullmatch(r"hw_[A-Za-z0-9_-]{43}", text)
    assert result.stderr.startswith("Token 1 of owner expires on ")
    rows = _ask(dsn, "select name, sha256, scopes, round(extract(day from expires_at - now())) from core.token")
    assert [("laptop", hashlib.sha256(text.encode()).digest(), None, 6)] == rows


def test_the_list_shows_no_token(heartwood):
    """One line a token, with its state; the texts are nowhere."""
    texts = [heartwood("token", "create", "--name", name).stdout.strip() for name in ("one", "two")]
    heartwood("token", "revoke", "2")

    listed = heartwood("token", "list")

    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [["1", "owner", "one", "all", "valid"], ["2", "owner", "two", "all", "revoked"]] == [
        [*row[:4], row[-1]] for row in rows
    ]
    assert not any(text in listed.output for text in texts)


def test_scopes_are_checked_against_the_person(heartwood, dsn):
    """A reader's token gets what a reader may, and no more; an unknown permission is answered with those there are."""
    good = heartwood("token", "create", "--person", "rita", "--scope", "plugins.read")
    more = heartwood("token", "create", "--person", "rita", "--scope", "jobs.write")
    unknown = heartwood("token", "create", "--scope", "plugin.read")

    assert [0, 1, 1] == [each.exit_code for each in (good, more, unknown)]
    assert isinstance(more.exception, HeartwoodError)
    assert "the role reader does not hold 'jobs.write'" in str(more.exception)
    assert "there is no permission 'plugin.read'; there are: " in str(unknown.exception)
    assert [("rita", ["plugins.read"])] == _ask(
        dsn, "select person.name, scopes from core.token join core.person on person.id = token.person"
    )


def test_an_unknown_person_is_told(heartwood):
    """With the name that was probably meant."""
    result = heartwood("token", "create", "--person", "rit")

    assert 1 == result.exit_code
    assert "nobody called 'rit'; did you mean 'rita'?" in str(result.exception)


@pytest.mark.parametrize("days", ["0", "-1", "3651", "x"])
def test_a_token_has_an_end(heartwood, dsn, days):
    """One day to ten years; nothing is made with anything else."""
    assert 2 == heartwood("token", "create", "--expires", days).exit_code
    assert [] == _ask(dsn, "select 1 from core.token")


def test_revoking_is_all_or_nothing(heartwood, dsn):
    """Where one is not there, none is ended."""
    heartwood("token", "create")

    result = heartwood("token", "revoke", "1", "99")

    assert 1 == result.exit_code
    assert "There is no token 99" == str(result.exception)
    assert [(None,)] == _ask(dsn, "select revoked_at from core.token")
    assert "1 (command line) revoked\n" == heartwood("token", "revoke", "1").stdout


def test_it_is_written_down(heartwood, dsn):
    """Making and ending stand in the audit, by the command line."""
    heartwood("token", "create")
    heartwood("token", "revoke", "1")

    assert [
        ("command line", "command", "tokens.create", "token 1"),
        ("command line", "command", "tokens.revoke", "token 1"),
    ] == _ask(dsn, "select actor, via, action, subject from core.audit order by id")
