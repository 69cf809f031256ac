"""The errors a plugin may raise and a client may see.

::

    HeartwoodError
    ├── Problem                      becomes problem+json when it leaves a route
    │   ├── Invalid                  422  the request was understood and is wrong; lists every fault
    │   ├── Unauthorized             401  nobody is known to ask
    │   ├── Forbidden                403  somebody asks who may not
    │   ├── NotFound                 404  it is not there, or not for this actor
    │   ├── Conflict                 409  it clashes with what is there
    │   ├── TooLarge                 413  more bytes than the limit
    │   ├── UnsupportedMedia         415  a kind of content that is not read
    │   ├── TooMany                  429  asked too often
    │   ├── Unavailable              503  try again later
    │   │   ├── ServiceUnavailable        no running plugin provides the service
    │   │   ├── PluginUnavailable         the plugin behind the prefix is not running
    │   │   └── DatabaseUnavailable       PostgreSQL gave no connection in time
    │   └── OutOfSpace               507  the disk floor is reached
    ├── Repeated                     this idempotency key has its answer, which is sent again
    ├── NotReady                     raised in a lifespan: the upstream is not there yet, try again
    ├── Discard                      raised in a job: it cannot succeed, do not retry
    └── LeaseLost                    this attempt of a job no longer owns it; its results are not written
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from heartwood.contracts.data import Stored


class HeartwoodError(Exception):
    """The root of everything heartwood raises on purpose."""


@frozen
class Fault:
    """One thing that is wrong with a value: where it is, and what is wrong, in words."""

    where: str
    message: str


class Problem(HeartwoodError):
    """An error with an HTTP status and a sentence for the person who reads it.

    Args:
        detail: one sentence that names the thing, the value and the way out.
        faults: every single fault, where there are several.
        retry_after: seconds after which trying again makes sense; sent as ``Retry-After``.
        owner: the plugin that raised it, filled in by the kernel where it knows.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), retry_after: float | None = None, owner: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.owner = owner


class Invalid(Problem):
    """The request is well formed and wrong; ``faults`` names everything that is wrong with it."""

    status = 422
    title = "Not valid"


class Unauthorized(Problem):
    """No credential, or one that is not valid."""

    status = 401
    title = "Not signed in"


class Forbidden(Problem):
    """The actor is known and lacks the permission."""

    status = 403
    title = "Not allowed"


class NotFound(Problem):
    """There is no such thing, or it belongs to somebody else: the two are told apart nowhere."""

    status = 404
    title = "Not found"


class Conflict(Problem):
    """The request clashes with the present state."""

    status = 409
    title = "Conflict"


class TooLarge(Problem):
    """More bytes came than the limit allows."""

    status = 413
    title = "Too large"


class UnsupportedMedia(Problem):
    """The content is of a kind that is not accepted here."""

    status = 415
    title = "Unsupported content"


class TooMany(Problem):
    """Asked too often; ``retry_after`` says when to come back."""

    status = 429
    title = "Too many requests"


class Unavailable(Problem):
    """Something needed is away for now."""

    status = 503
    title = "Unavailable"

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), retry_after: float | None = 5, owner: str | None = None
    ) -> None:
        super().__init__(detail, faults=faults, retry_after=retry_after, owner=owner)


class ServiceUnavailable(Unavailable):
    """No running plugin provides the service asked for; ``owner`` and ``state`` say who should."""

    def __init__(self, service: str, *, owner: str | None, state: str) -> None:
        who = f"plugin {owner!r}, which is {state}" if owner else "no installed plugin"
        super().__init__(f"{service} is provided by {who}", owner=owner)
        self.service = service
        self.state = state


class PluginUnavailable(Unavailable):
    """The plugin that owns this prefix is not running."""

    def __init__(self, owner: str, state: str, reason: str) -> None:
        super().__init__(f"Plugin {owner!r} is {state}: {reason}" if reason else f"Plugin {owner!r} is {state}")
        self.owner = owner
        self.state = state


class DatabaseUnavailable(Unavailable):
    """PostgreSQL gave no connection within ``data.acquire_timeout`` seconds, or dropped the one in use."""


class OutOfSpace(Problem):
    """Less space is left than the floor that is kept free."""

    status = 507
    title = "Out of space"


class Repeated(HeartwoodError):
    """What an idempotency key stands for has been done; the kernel sends ``stored``, the answer of the first time."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(f"This was done before and answered with status {stored.status}")
        self.stored = stored


class NotReady(HeartwoodError):
    """Raised by a lifespan whose upstream is not there yet; the kernel retries it with a growing delay."""


class Discard(HeartwoodError):
    """Raised by a job that can never succeed; it becomes ``dead`` at once, with this sentence as its reason."""


class LeaseLost(HeartwoodError):
    """This attempt no longer owns its job (another worker resumed it), so its results must not be written."""
