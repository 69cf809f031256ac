"""What a worker has at hand, whatever becomes of its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from heartwood.work.attempts import Attempt, Ending, JobHandler, Outcome
    from heartwood.work.performer import Performer
    from heartwood.work.settings import WorkSettings


class Bench:
    """What one worker has at hand for as long as the process lives, whatever becomes of its connections.

    Args:
        settings: sizes and times.
        performer: runs attempts.
        worker: who the worker is to the queue.

    ``taking`` is set while it takes jobs.
    """

    def __init__(self, settings: WorkSettings, performer: Performer, worker: UUID) -> None:
        self.settings = settings
        self.performer = performer
        self.worker = worker
        self.taking = asyncio.Event()
        self.handlers: dict[str, JobHandler] = {}
        self.running: dict[int, Attempt] = {}
        self.unwritten: dict[tuple[int, int], Outcome] = {}

    def end(self, why: Ending, *, plugin: str | None = None) -> None:
        """End all running attempts, or those of one plugin."""
        for attempt in list(self.running.values()):
            if plugin in (None, attempt.handler.plugin):
                attempt.end(why)
