"""Reading the sections of the summary, each on its own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import frozen
from prometheus_async import aio

from heartwood.api import Actor, Contribution, HeartwoodError
from heartwood.contracts.analytics import Figure, FigureState, Section
from heartwood_metrics.models import SectionAnswer, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heartwood.contracts.calls import Caller
    from heartwood_metrics.instruments import Instruments


@frozen
class Source:
    """One section and the plugin it comes from, or the sentence that says why there is none."""

    plugin: str
    section: Section | None
    problem: str = ""


def sources(contributions: Iterable[Contribution[Iterable[Section]]]) -> list[Source]:
    """Return what all plugins contributed; one that raised, or returned something else, is a source with a problem."""
    found: list[Source] = []
    for contribution in contributions:
        try:
            found += _of(contribution)
        except TypeError as error:
            found.append(Source(contribution.plugin, None, f"its hook `analytics` returned no sections: {error}"))
    return found


def _of(contribution: Contribution[Iterable[Section]]) -> list[Source]:
    if contribution.error is not None:
        return [Source(contribution.plugin, None, f"its hook `analytics` failed: {_sentence(contribution.error)}")]
    return [Source(contribution.plugin, _section(value)) for value in contribution.value or ()]


def _section(value: object) -> Section:
    if not isinstance(value, Section):
        msg = f"got {type(value).__name__}"
        raise TypeError(msg)
    return value


async def read(sources: Sequence[Source], actor: Actor, caller: Caller, instruments: Instruments) -> Summary:
    """Return the summary for ``actor``: all sections they may see, read at the same time."""
    seen = [source for source in sources if source.section is None or actor.may(source.section.permission)]
    answers = await asyncio.gather(*(_answer(source, actor, caller, instruments) for source in seen))
    return Summary(datetime.now(UTC), list(answers))


async def _answer(source: Source, actor: Actor, caller: Caller, instruments: Instruments) -> SectionAnswer:
    section = source.section
    if section is None:
        return SectionAnswer(source.plugin, source.plugin, source.plugin, [], source.problem)
    figures: list[Figure] = []
    problem = None
    timer = asyncio.timeout(section.timeout)
    try:
        async with timer:
            figures = await _figures(source.plugin, section, actor, caller, instruments)
    except BaseException as error:  # whatever a plugin raises, ``sys.exit`` included, is its section's problem
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        problem = f"did not answer within {section.timeout:g} s" if timer.expired() else _sentence(error)
    return SectionAnswer(source.plugin, section.name, section.title, figures, problem)


async def _figures(
    plugin: str, section: Section, actor: Actor, caller: Caller, instruments: Instruments
) -> list[Figure]:
    """Read one section, timed and its errors counted."""
    reading = caller.call(plugin, section.read, actor=actor, where="analytics")
    counted = aio.count_exceptions(instruments.errors.labels(plugin), reading)
    figures = await aio.time(instruments.seconds.labels(plugin), counted)
    return [_checked(figure) for figure in figures]


def _checked(figure: object) -> Figure:
    """Return ``figure`` where it says what it is; a value without data, or data without a value, is a mistake."""
    if not isinstance(figure, Figure):
        msg = f"a figure was expected, got {type(figure).__name__}"
        raise HeartwoodError(msg)
    if (figure.value is None) != (figure.state is FigureState.NO_DATA):
        msg = f"figure {figure.name!r} has the state {figure.state} and the value {figure.value}"
        raise HeartwoodError(msg)
    return figure


def _sentence(error: BaseException) -> str:
    """Return what people may read of ``error``: our own sentences whole, of all others the kind only."""
    return str(error) if isinstance(error, HeartwoodError) else f"failed with {type(error).__name__}; the log says more"
