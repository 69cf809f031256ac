"""Settings of background work, ``[work]``."""

from __future__ import annotations

from typing import Any

from attrs import frozen, validators

from heartwood.contracts.settings import setting
from heartwood.work.children.settings import ChildSettings


def _half_of_concurrency(settings: WorkSettings, _attribute: Any, batch: int) -> None:
    if batch > settings.concurrency // 2:
        message = f"batch = {batch} is more than half of concurrency = {settings.concurrency}; raise concurrency"
        raise ValueError(message)


def _twice_heartbeat(settings: WorkSettings, _attribute: Any, lost: float) -> None:
    if lost < 2 * settings.heartbeat:
        message = (
            f"lost = {lost:g} is less than twice heartbeat = {settings.heartbeat:g}; one late sign would cost a job"
        )
        raise ValueError(message)


@frozen
class WorkSettings:
    """How jobs are taken, kept alive and ended."""

    concurrency: int = setting(20, help="How many jobs one process runs at the same time.", validator=validators.ge(2))
    batch: int = setting(
        10,
        help="How many jobs are taken from the queue at once; at most half of concurrency.",
        validator=validators.and_(validators.ge(1), _half_of_concurrency),
    )
    heartbeat: float = setting(
        2.0, help="Seconds between two signs of life of a running job.", validator=validators.gt(0)
    )
    lost: float = setting(
        5.0,
        help="Seconds without a sign of life after which another worker resumes the job; at least twice heartbeat.",
        validator=_twice_heartbeat,
    )
    drain: float = setting(
        30.0, help="Seconds that running jobs get to end when the process stops.", validator=validators.ge(0)
    )
    log_keep_days: int = setting(
        30, help="Days for which ended jobs and the attempts of all jobs are remembered.", validator=validators.ge(1)
    )
    children: ChildSettings = setting(factory=ChildSettings, help="Child processes.")
