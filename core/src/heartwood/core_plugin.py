"""The kernel's own routes, permissions, checks and schedules, contributed through the same hooks as anyone's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aiohttp import web
from attrs import frozen

from heartwood.contracts.data import Database, Transaction
from heartwood.contracts.errors import NotFound, Unavailable
from heartwood.contracts.health import HealthCheck
from heartwood.contracts.jobs import JobInfo, JobState
from heartwood.contracts.permissions import PUBLIC, Permission, Role
from heartwood.contracts.routes import Page, Route
from heartwood.contracts.tasks import Scope, Task
from heartwood.data import idempotency
from heartwood.plugins.plugin import Plugin, PluginContext, hookimpl
from heartwood.plugins.report import PluginReport, report
from heartwood.work import inspect, store

if TYPE_CHECKING:
    from heartwood.kernel import Kernel

EVERYBODY = frozenset({Role.MEMBER, Role.READER})


@frozen
class PluginList:
    """All plugins, in the order in which they start."""

    plugins: list[PluginReport]


@frozen
class Readiness:
    """Whether the hub can do its work; ``reasons`` says why not."""

    ready: bool
    reasons: list[str]


class CorePlugin(Plugin):
    """The kernel as a plugin of itself."""

    name = "core"

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @hookimpl
    def permissions(self, ctx: PluginContext) -> Iterable[Permission]:
        """Return who may look into the machine."""
        return [
            Permission("plugins.read", "See which plugins there are and how they do.", EVERYBODY),
            Permission("jobs.read", "See the jobs of the hub.", frozenset({Role.MEMBER})),
            Permission("jobs.write", "Try jobs again, and cancel them."),
            Permission("core.describe", "Read the description of the API.", EVERYBODY),
        ]

    @hookimpl
    def routes(self, ctx: PluginContext) -> Iterable[Route]:
        """Return the kernel's routes; those below ``/-`` are for the machine itself and not routed by a proxy."""
        return [
            Route("GET", "", self.health, PUBLIC, prefix="health", raw=True),
            Route("GET", "/ready", self.ready, PUBLIC, prefix="-", raw=True),
            Route("GET", "/plugins", self.plugins, "plugins.read", prefix="-", name="plugins_here"),
            Route("GET", "", self.plugins, "plugins.read", prefix="plugins"),
            Route("GET", "/{plugin}", self.plugin, "plugins.read", prefix="plugins"),
            Route("GET", "", self.jobs, "jobs.read", prefix="jobs", name="list_jobs"),
            Route("GET", "/{job}", self.job, "jobs.read", prefix="jobs"),
            Route("POST", "/{job}/retry", self.retry_job, "jobs.write", prefix="jobs"),
            Route("POST", "/{job}/cancel", self.cancel_job, "jobs.write", prefix="jobs"),
            Route("GET", "", self.openapi, "core.describe", prefix="openapi.json"),
        ]

    @hookimpl
    def health_checks(self, ctx: PluginContext) -> Iterable[HealthCheck]:
        """Return the checks without which nothing works."""
        return [
            HealthCheck("database", self.database, critical=True),
            HealthCheck("jobs", self.jobs_are_taken, critical=True),
        ]

    @hookimpl
    def tasks(self, ctx: PluginContext) -> Iterable[Task]:
        """Return the housekeeping."""
        return [
            Task("purge_logs", self.purge_logs, cron="17 3 * * *"),
            Task("purge_idempotency", self.purge_idempotency, cron="47 * * * *"),
            Task("measure", self.measure, every=15.0, scope=Scope.PROCESS, roles=frozenset({"serve"})),
            Task("look", self.look, every=15.0, scope=Scope.PROCESS),
        ]

    async def health(self) -> web.StreamResponse:
        """Say in one word whether the hub can do its work."""
        reasons = await self._kernel.condition.ready()
        return web.Response(text="down\n" if reasons else "ok\n", status=503 if reasons else 200)

    async def ready(self) -> web.StreamResponse:
        """Say whether the hub can do its work, for a supervisor."""
        reasons = await self._kernel.condition.ready()
        if reasons:
            self._kernel.log.info("hub.not_ready", reasons=reasons)
        return web.Response(text="not ready\n" if reasons else "ready\n", status=503 if reasons else 200)

    async def plugins(self) -> PluginList:
        """Return all plugins with their states, versions, contributions, times and last errors."""
        return PluginList([report(record) for record in self._kernel.records])

    async def plugin(self, plugin: str) -> PluginReport:
        """Return one plugin."""
        record = self._kernel.by_name.get(plugin)
        if record is None:
            msg = f"There is no plugin {plugin!r}"
            raise NotFound(msg)
        return report(record)

    async def jobs(
        self,
        db: Database,
        state: list[JobState] = [],  # noqa: B006  (the binder reads it and nobody changes it)
        plugin: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[JobInfo]:
        """Return jobs, newest first, of any or of some states."""
        return await inspect.list_jobs(db, states=state, plugin=plugin, limit=limit, cursor=cursor)

    async def job(self, job: int, db: Database) -> inspect.JobHistory:
        """Return one job with its attempts and why they ended."""
        return await inspect.show_job(db, job)

    async def retry_job(self, job: int, tx: Transaction) -> None:
        """Queue a dead job again."""
        await inspect.retry_job(tx, job)

    async def cancel_job(self, job: int, tx: Transaction) -> None:
        """End a job that waits, runs or is dead."""
        await inspect.cancel_job(tx, job)

    async def openapi(self) -> dict[str, Any]:
        """Return the description of the API: of everything that is mounted."""
        from heartwood.web.openapi import Mounted, document  # noqa: PLC0415  (only who asks for it pays for it)

        kernel = self._kernel
        assert kernel.mount is not None  # noqa: S101  (this route is mounted)
        mounted = [
            Mounted(route.owner or name, kernel.mount.path(kernel.by_name[name], route), bound)
            for name, routes in kernel.assembly.parts.routes.items()
            for route, bound in routes
        ]
        return document(mounted, version=version("heartwood-hub"))

    async def database(self, db: Database) -> None:
        """Ask PostgreSQL for a sign of life."""
        await db.fetchval("select 1")

    async def jobs_are_taken(self) -> None:
        """Raise where this process should run jobs and cannot."""
        worker = self._kernel.worker
        if worker is not None and worker.problem:
            raise Unavailable(worker.problem)

    async def purge_logs(self, db: Database) -> None:
        """Forget jobs and attempts that ended longer ago than ``work.log_keep_days``."""
        await store.purge(db, timedelta(days=self._kernel.settings.work.log_keep_days))

    async def purge_idempotency(self, db: Database) -> None:
        """Forget answers that nobody will ask for again."""
        await idempotency.purge(db)

    async def look(self) -> None:
        """Ask every health check how its plugin does."""
        await self._kernel.condition.look()

    async def measure(self, db: Database) -> None:
        """Count the jobs and weigh the database, for the metrics."""
        self._kernel.metrics.database_size_bytes.set(await db.fetchval("select pg_database_size(current_database())"))
        found = await store.counts(db)
        gauge = self._kernel.metrics.jobs
        gauge.clear()
        for (queue, status), number in found.items():
            gauge.labels(queue, str(inspect.STATES.get(status, status))).set(number)
