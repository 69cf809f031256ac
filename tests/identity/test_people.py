"""Whom a job runs for."""

from __future__ import annotations

from heartwood.identity.people import actor_of


async def test_a_job_runs_with_what_its_person_may_now(office, catalog):
    """The role of this moment counts, not that of when it was enqueued; the name is the present one."""
    find = actor_of(office.core, catalog)
    before = await find(2, "old name")
    await office.core.execute("update core.person set role = 'reader' where id = 2")
    after = await find(2, "old name")
    assert (2, "mia", {"notes.read", "notes.write"}, "job") == (
        before.person,
        before.name,
        before.permissions,
        before.via,
    )
    assert {"notes.read"} == after.permissions


async def test_a_job_of_somebody_disabled_or_gone_may_nothing(office, catalog):
    """It runs, is told no, and says for whom it was."""
    find = actor_of(office.core, catalog)
    disabled, gone = await find(4, "dora"), await find(99, "gina")
    assert ("dora", frozenset()) == (disabled.name, disabled.permissions)
    assert ("gina", frozenset()) == (gone.name, gone.permissions)
