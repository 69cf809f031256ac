"""Fixtures for the authors of plugins, loaded by pytest as an entry point; heavy imports wait until one is used."""

from __future__ import annotations

from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from heartwood.testing.hub import RunningHub

if find_spec("pytest_asyncio"):  # an author who tests without a loop of pytest's needs no such fixture
    from pytest_asyncio import fixture as async_fixture

    @async_fixture(name="hub_factory")
    async def _hub_factory() -> AsyncIterator[Callable[..., Awaitable[RunningHub]]]:
        """Make hubs with just the plugins given; they stop at the end of the test. See ``running_hub``."""
        from heartwood.testing.hub import running_hub  # noqa: PLC0415

        async with AsyncExitStack() as stack:

            async def make(**options: Any) -> RunningHub:
                return await stack.enter_async_context(running_hub(**options))

            yield make


@pytest.fixture(name="database_url")
def _database_url() -> Iterator[str]:
    """The address of a database that has the kernel's tables and nothing else."""
    from heartwood.testing.database import fresh_database  # noqa: PLC0415

    with fresh_database() as url:
        yield url
