"""What the hub knows of each plugin: its state, why, and what happened to it."""

from __future__ import annotations

import time
import traceback
from collections import deque
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import define, field, frozen

from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.health import HealthResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator


class State(StrEnum):
    """Where a plugin stands."""

    DISABLED = "disabled"
    MISSING = "missing"
    INCOMPATIBLE = "incompatible"
    FOUND = "found"
    FAILED = "failed"
    SKIPPED = "skipped"
    RETRYING = "retrying"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"


class Phase(StrEnum):
    """The step of the life cycle in which a plugin failed."""

    DISCOVER = "discover"
    IMPORT = "import"
    CONFIGURE = "configure"
    REGISTER = "register"
    COLLECT = "collect"
    MIGRATE = "migrate"
    START = "start"
    RUN = "run"
    STOP = "stop"


SERVING = frozenset({State.RUNNING, State.DEGRADED})
"""The states in which a plugin's routes answer and its services are given out."""


@frozen
class Failure:
    """One thing that went wrong: when (seconds since the epoch), where, the sentence, and the traceback."""

    at: float
    where: str
    message: str
    trace: str


@define
class Record:
    """One plugin, from its metadata to its last error. Changed by the kernel only."""

    name: str
    state: State = State.FOUND
    phase: Phase | None = None
    reason: str = ""
    attempt: int = 0
    required: bool = False
    distribution: str | None = None
    version: str | None = None
    prefixes: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    import_seconds: float | None = None
    start_seconds: float | None = None
    contributions: dict[str, list[str]] = field(factory=dict)
    unmatched_hooks: list[str] = field(factory=list)
    failures: deque[Failure] = field(factory=lambda: deque(maxlen=5))
    health: list[HealthResult] = field(factory=list)
    plugin: Any = field(default=None, repr=False)
    context: Any = field(default=None, repr=False)

    @property
    def serving(self) -> bool:
        """Whether its routes answer."""
        return self.state in SERVING

    @property
    def up(self) -> bool:
        """Whether it serves, and its health checks passed when they were asked last."""
        return self.serving and all(each.verdict is Verdict.OK for each in self.health)

    @property
    def label(self) -> str:
        """The state with its phase, reason or count, as people read it: ``failed(import)``, ``retrying(2)``."""
        if self.state is State.FAILED and self.phase:
            return f"failed({self.phase})"
        if self.state is State.SKIPPED and self.reason:
            return f"skipped({self.reason})"
        if self.state is State.RETRYING:
            return f"retrying({self.attempt})"
        return str(self.state)

    def note(self, where: str, error: BaseException) -> None:
        """Remember an error; the last five are kept."""
        trace = "".join(traceback.format_exception(error))
        self.failures.append(Failure(time.time(), where, f"{type(error).__name__}: {error}", trace))

    def fail(self, phase: Phase, reason: str, error: BaseException | None = None) -> None:
        """Move to ``failed(phase)`` and say why in one sentence."""
        self.state, self.phase, self.reason = State.FAILED, phase, reason
        if error is not None:
            self.note(str(phase), error)

    @contextmanager
    def failing(self, phase: Phase, where: str = "") -> Iterator[None]:
        """Let whatever the plugin's code raises inside, ``sys.exit`` included, cost this plugin and nothing else."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (plugins raise what they like)
            self.fail(phase, f"{where}: {sentence(error)}" if where else sentence(error), error)


def sentence(error: BaseException) -> str:
    """Return an error in one line: its own words where they were written to be read, else its type before them."""
    text = " ".join(str(error).split())
    if text and isinstance(error, HeartwoodError | pluggy.PluginValidationError):
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")
