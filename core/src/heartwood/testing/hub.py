"""A whole hub inside of a test: its own database, folder, port and log."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import tomlkit
from attrs import field, frozen

from heartwood.config.sources import read_layers
from heartwood.kernel import Kernel
from heartwood.testing.database import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from heartwood.plugins.plugin import Plugin

QUIET: dict[str, Any] = {
    "web": {"listen": ["127.0.0.1:0"]},
    "observe": {"live_listen": "", "format": "json"},
    "data": {"auto_migrate": True},
}
"""What a hub in a test is configured to, unless the test says otherwise."""

WAITING = """
select count(*) from queue.pgqueuer
where status = 'picked' or (status = 'queued' and execute_after <= now())
"""


@frozen
class JobsOfHub:
    """The jobs of a hub in a test."""

    _kernel: Kernel

    async def drain(self, *, within: float = 30.0) -> None:
        """Wait until no job runs, and none waits that could run now.

        Raises:
            TimeoutError: after ``within`` seconds there still are some.
        """
        deadline = time.monotonic() + within
        while left := await self._kernel.database("core").fetchval(WAITING):
            if time.monotonic() > deadline:
                msg = f"{left} jobs are left after {within:g} s"
                raise TimeoutError(msg)
            await asyncio.sleep(0.01)


@frozen
class RunningHub:
    """A hub that runs.

    Args:
        kernel: the hub itself.
        url: where it answers; empty for a worker.
        client: an aiohttp client with the owner's token; paths are enough (``hub.client.get("/business/health")``).
        stranger: the same without a token.
        jobs: its jobs.
        log: its log so far, one JSON object a line.
    """

    kernel: Kernel
    url: str
    client: aiohttp.ClientSession
    stranger: aiohttp.ClientSession
    jobs: JobsOfHub
    log: io.StringIO = field(repr=False)


@asynccontextmanager
async def running_hub(
    *,
    plugins: Sequence[type[Plugin]] = (),
    config: Mapping[str, Any] | None = None,
    role: str = "serve",
    jobs: bool = True,
    strict: bool = False,
    discover: bool = False,
    environ: Mapping[str, str] | None = None,
    database: str | None = None,
) -> AsyncIterator[RunningHub]:
    """Run a hub with just these plugins for as long as the context lasts. It discovers nothing by itself.

    Args:
        plugins: their classes; all of them are enabled.
        config: what would stand in ``plugins.toml``: ``{"plugins": {"greeter": {"config": {"name": "Ada"}}}}``.
        role: ``serve`` or ``worker``.
        jobs: whether it runs jobs.
        strict: refuse to start unless every plugin can run.
        discover: take what is installed and enabled in ``config`` instead of ``plugins``.
        environ: environment variables; none by default.
        database: the address of a database to use; a fresh one by default.
    """
    with tempfile.TemporaryDirectory(prefix="hwt") as folder, fresh_database() as fresh:
        file = Path(folder, "plugins.toml")
        data = {"dir": f"{folder}/data", "runtime_dir": f"{folder}/run"}
        own = merged(QUIET, {"data": data, "plugins": {cls.name: {} for cls in plugins}})
        file.write_text(tomlkit.dumps(merged(own, config or {})), encoding="utf-8")  # noqa: ASYNC240  (some bytes, in a test)
        log = io.StringIO()
        kernel = Kernel(
            read_layers(file, {"DATABASE_URL": database or fresh, **(environ or {})}, ()),
            role=role,
            strict=strict,
            plugins=None if discover else plugins,
            environ=environ or {},
            log_stream=log,
        )
        async with kernel.running(jobs=jobs):
            url = kernel.addresses[0] if kernel.addresses else ""
            token = kernel.places.local_token.read_text() if url else ""
            async with (
                aiohttp.ClientSession(url or None, headers={"Authorization": f"Bearer {token.strip()}"}) as client,
                aiohttp.ClientSession(url or None) as stranger,
            ):
                yield RunningHub(kernel, url, client, stranger, JobsOfHub(kernel), log)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with the values of ``above`` laid over it, table by table."""
    both = dict(below)
    for key, value in above.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both
