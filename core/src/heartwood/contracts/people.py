"""Who acts: people, and the actor behind a request, a job or a command."""

from __future__ import annotations

from attrs import frozen

EVERYTHING = "*"


@frozen
class Actor:
    """Somebody who asks for something, with what they may do.

    ``person`` is the id of a row in ``core.person``, or None for the hub itself (schedules, start-up).
    ``permissions`` holds permission names; ``"*"`` stands for all. ``via`` says by which credential they came
    (``local``, ``token``, ``command``, ``job``, ``hub``), for the audit, never for a decision.
    """

    person: int | None
    name: str
    permissions: frozenset[str]
    via: str

    def may(self, permission: str) -> bool:
        """Whether this actor holds ``permission``."""
        return permission in self.permissions or EVERYTHING in self.permissions

    @property
    def owner(self) -> int:
        """The person whose rows this actor reads and writes.

        Raises:
            LookupError: the actor is the hub itself, which owns nothing.
        """
        if self.person is None:
            msg = f"{self.name} acts for nobody and owns no rows"
            raise LookupError(msg)
        return self.person


HUB = Actor(person=None, name="hub", permissions=frozenset({EVERYTHING}), via="hub")
