"""What plugins add to the analytics summary (hook ``analytics`` of the metrics plugin)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen


class FigureState(StrEnum):
    """The three states of a figure: it is known, there is nothing to know yet, or it is old."""

    VALUE = "value"
    NO_DATA = "no_data"
    STALE = "stale"


@frozen
class Figure:
    """One number with its unit.

    ``value`` is None exactly where ``state`` is ``no_data``. ``as_of`` is when it was true. ``estimate`` lists the
    inputs, in words, where the figure is not a measurement.
    """

    name: str
    value: float | None
    unit: str
    state: FigureState = FigureState.VALUE
    as_of: datetime | None = None
    estimate: list[str] = field(factory=list)


@frozen
class Section:
    """A part of the summary that one plugin answers for.

    ``read`` is an async function (services and ``Actor`` are injected) that returns the figures the actor may see. It
    has two seconds; an error becomes the section's ``problem``, never a zero.
    """

    name: str
    title: str
    read: Callable[..., Awaitable[list[Figure]]]
    permission: str
    timeout: float = 2.0
