"""The life cycle of one hub process: the only file that knows all floors.

Making a :class:`Kernel` reads the configuration and imports, orders, configures and asks the plugins; it needs no loop
and no database. :meth:`Kernel.running` starts everything, listens last, and takes it all down in reverse.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from heartwood.assembly import (
    DEAD,
    Assembly,
    Refused,
    configure,
    find,
    migration_sources,
    owner_of,
    refuse,
    refuse_started,
    register,
)
from heartwood.contracts.calls import Caller
from heartwood.contracts.children import Children
from heartwood.contracts.data import Blobs, Cache, Database, Tables
from heartwood.contracts.errors import HeartwoodError, Unavailable
from heartwood.contracts.events import Events, Signals
from heartwood.contracts.http import EventStreams, HttpClient
from heartwood.contracts.jobs import Jobs
from heartwood.contracts.metrics import MetricsRegistry
from heartwood.core_plugin import CorePlugin
from heartwood.data.blobs import open_blobs
from heartwood.data.cache import open_cache
from heartwood.data.embedded import Dsn, running_postgres
from heartwood.data.migrations import MigrationSource
from heartwood.data.places import PlaceUnusable, find_places
from heartwood.data.pool import Pool
from heartwood.identity.authenticate import Identity
from heartwood.identity.local import local_token
from heartwood.identity.people import actor_of
from heartwood.identity.permissions import PermissionCatalog
from heartwood.observe.live import LiveThread
from heartwood.observe.logs import Logs
from heartwood.observe.metrics import Metrics
from heartwood.plugins.caller import ContributedCaller
from heartwood.plugins.calls import Hooks
from heartwood.plugins.condition import Condition
from heartwood.plugins.lifecycle import Lifecycle, Limits
from heartwood.plugins.plugin import PluginContext
from heartwood.plugins.records import Phase, Record, State
from heartwood.plugins.services import ServiceCatalog
from heartwood.schemas import bring_up_to_date
from heartwood.settings import read_settings
from heartwood.web.mount import Mount
from heartwood.web.outbound import Outbound
from heartwood.web.pipeline import Pipeline
from heartwood.web.server import WebServer
from heartwood.web.sse import Streams
from heartwood.work.children import ChildPool
from heartwood.work.events import EventBus, record_subscriptions
from heartwood.work.jobs import JobQueue
from heartwood.work.signals import SignalBus
from heartwood.work.tasks import Reports, TaskRunner
from heartwood.work.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from typing import TextIO

    from heartwood.config.sources import Layers
    from heartwood.plugins.plugin import Plugin

__all__ = ["Kernel", "Refused"]

DISTRIBUTION = "heartwood-hub"
CORE_PREFIXES = ("health", "plugins", "jobs", "openapi.json")
CORE_TABLES = Tables("heartwood.data.core_tables:metadata", "heartwood.migrations")
READY_WITHIN = 10.0
"""Seconds that a worker waits to take jobs before it says that it is ready all the same."""


class Kernel:
    """One hub in one process. Nothing of it is shared with another one.

    Args:
        layers: the configuration.
        role: ``serve``, ``worker`` or ``command``.
        strict: refuse to start unless every enabled plugin can run.
        plugins: take these classes in place of what is installed.
        environ: the environment, for the places of data.
        log_stream: where log lines go; standard error by default.

    Raises:
        Refused: the kernel's own settings cannot be used, or a required plugin cannot run; for a command, which should
            work beside broken plugins, only the settings count. Every problem is in it, also those of the plugins.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        role: str,
        strict: bool = False,
        plugins: Sequence[type[Plugin]] | None = None,
        environ: Mapping[str, str] = os.environ,
        log_stream: TextIO | None = None,
    ) -> None:
        self.role = role
        self._strict = strict
        self.settings, findings = read_settings(layers)
        try:
            self.places = find_places(self.settings.data, environ)
        except PlaceUnusable as error:
            raise Refused("\n".join([*map(str, findings), str(error)])) from error
        self.logs = Logs(self.settings.observe, log_stream)
        self.log = self.logs.logger()
        self.metrics = Metrics()
        self.services = ServiceCatalog()
        self.hooks = Hooks()
        self.addresses: list[str] = []
        self._layers = layers
        self._switches = layers.plugin_switches()
        self.mount: Mount | None = None
        self._provide()
        self.assembly = Assembly(self.services, self.metrics)
        core = Record("core", required=True, prefixes=CORE_PREFIXES, roots=("-",), plugin=CorePlugin(self))
        core.distribution, core.version = DISTRIBUTION, version(DISTRIBUTION)
        self.records = [core, *find(layers, self.settings, plugins, self.log)]
        self.by_name = {record.name: record for record in self.records}
        self.metrics.plugins = self.records
        problems = configure(layers, self.records[1:], self._context)
        core.context = self._context(core, None)
        self._asked = register(self.records, self.hooks)  # a plugin may ask others while it is asked itself
        self.contributed = self.assembly.collect(self._asked, self.hooks)
        self._asked = [each.record for each in self.contributed]
        refuse([] if role == "command" else self.records, strict=strict, findings=findings, problems=problems)
        self.condition = Condition(self.records, self.assembly.parts.checks, self.log)
        self.metrics.on_error = lambda name, error: self.note(name, "metrics", error)

    def _provide(self) -> None:
        """Offer what the kernel gives to every plugin; the values exist once :meth:`running` is entered."""
        self.pool: Pool | None = None
        self.worker: Worker | None = None
        self.queue = JobQueue()
        self.running_services: dict[type, Any] = {Jobs: self.queue, Events: EventBus(), MetricsRegistry: self.metrics}
        for contract in (
            Jobs,
            Events,
            MetricsRegistry,
            Signals,
            Blobs,
            Cache,
            Children,
            HttpClient,
            EventStreams,
            Caller,
        ):
            self.services.provide(contract, partial(self._running_service, contract))
        self.services.provide(Database, self.database)

    def _running_service(self, contract: type, _consumer: str) -> Any:
        try:
            return self.running_services[contract]
        except KeyError:
            msg = f"{contract.__name__} is there once the hub has started"
            raise Unavailable(msg) from None

    def database(self, plugin: str) -> Any:
        """Return a plugin's way to PostgreSQL.

        Raises:
            Unavailable: the hub has not started.
        """
        if self.pool is None:
            msg = "The database is there once the hub has started"
            raise Unavailable(msg)
        return self.pool.database(plugin)

    def _context(self, record: Record, config: Any) -> PluginContext:
        return PluginContext(
            name=record.name,
            config=config,
            log=self.logs.logger(plugin=record.name),
            role=self.role,
            data_dir=self.places.data_dir / "plugins" / record.name,
            services=self.services,
            ask=self._ask,
            reverse=self._reverse,
        )

    def _ask(self, asker: str, hook: str, arguments: dict[str, Any]) -> Sequence[Any]:
        return self.hooks.ask_all(asker, hook, arguments, self._asked)

    def _reverse(self, name: str, **parts: Any) -> str:
        if self.mount is None:
            msg = f"The path of {name!r} is known once the hub has started"
            raise HeartwoodError(msg)
        return self.mount.url_for(name, **parts)

    def note(self, plugin: str, where: str, error: BaseException) -> None:
        """Remember an error of a plugin in its record, and count it."""
        record = self.by_name.get(plugin)
        if record is not None:
            record.note(where, error)
        self.metrics.count_error(plugin, where.partition(" ")[0])

    def migration_sources(self) -> list[MigrationSource]:
        """Return the migrations of the kernel and of every plugin that could be collected, in order."""
        return [MigrationSource("core", CORE_TABLES), *migration_sources(self.contributed)]

    @asynccontextmanager
    async def running(self, *, jobs: bool = True) -> AsyncIterator[Kernel]:
        """Start everything; stop it in reverse when the context is left.

        Raises:
            Refused: a required plugin did not start.
            HeartwoodError: the database or an address cannot be had.
        """
        async with AsyncExitStack() as stack:
            await self._start(stack, jobs=jobs)
            try:
                yield self
            finally:
                self.log.info("hub.stopping", role=self.role)
        self.log.info("hub.stopped", role=self.role)

    async def _start(self, stack: AsyncExitStack, *, jobs: bool) -> None:
        stack.enter_context(self.logs.capture_libraries())
        self._watch_loop(stack)
        dsn = await stack.enter_async_context(running_postgres(self.settings.data, self.places, self.log))
        self.places.make()
        problems = await bring_up_to_date(dsn, self.migration_sources(), self.settings.data, self.log)
        self._note_broken(problems)
        pool = await self._open_data(stack, dsn)
        catalog = PermissionCatalog(self.assembly.parts.permissions)
        worker, tasks = await self._open_work(stack, pool, catalog, jobs=jobs)
        token = local_token(self.places.local_token, self.log) if self.role == "serve" else None
        identity = Identity(pool.database("core"), catalog, token, self.log)
        await stack.enter_async_context(identity.listening(pool))
        server = self._build_web(stack, identity)
        await self._start_plugins(stack, worker, tasks)
        refuse_started(self.records, strict=self._strict)
        if self.role == "serve":
            stack.push_async_callback(server.stop)
            await server.start()
            self.addresses = server.addresses
        elif worker is not None:
            await worker.taking(within=READY_WITHIN)
        self.log.info("hub.ready", role=self.role, addresses=self.addresses)

    def _watch_loop(self, stack: AsyncExitStack) -> None:
        observe = self.settings.observe
        live = LiveThread(
            observe.live_listen if self.role == "serve" else "",
            lag=observe.loop_lag,
            dead=observe.loop_dead,
            owner_of=owner_of(self.records),
            log=self.log,
            on_block=lambda plugin: self.metrics.loop_blocked_total.labels(plugin).inc(),
        )
        live.start(asyncio.get_running_loop())
        stack.callback(live.stop)
        self.metrics.loop_lag_seconds.set_function(lambda: live.lag)

    def _note_broken(self, problems: Mapping[str, str]) -> None:
        """Fail those plugins whose tables are not ready, and log all that will not be started."""
        if "core" in problems:
            msg = f"The kernel's tables cannot be used: {problems['core']}"
            raise Refused(msg)
        for name, problem in problems.items():
            self.by_name[name].fail(Phase.MIGRATE, problem)
        for each in self.records:
            if each.state in DEAD:
                phase = str(each.phase or each.state)
                self.log.error("plugin.failed", plugin=each.name, phase=phase, reason=each.reason)

    async def _open_data(self, stack: AsyncExitStack, dsn: Dsn) -> Pool:
        data = self.settings.data
        pool = self.pool = Pool(dsn, data, self.log, self.metrics)
        await pool.open()
        stack.push_async_callback(pool.close)
        blobs, cache = open_blobs(data, self.places), open_cache(data, self.log)
        stack.callback(blobs.close)
        stack.push_async_callback(cache.close)
        self.running_services |= {Blobs: blobs, Cache: cache}
        return pool

    async def _open_work(
        self, stack: AsyncExitStack, pool: Pool, catalog: PermissionCatalog, *, jobs: bool
    ) -> tuple[Worker | None, TaskRunner]:
        core = pool.database("core")
        signals = SignalBus(pool, self.log, self.settings.data.redis_url)
        await stack.enter_async_context(signals.running())
        children = ChildPool(self.settings.work.children, self.log)
        stack.push_async_callback(children.close)
        self.running_services |= {Signals: signals, Children: children}
        reports = Reports(self.note, self.condition.degrade, self.condition.recover)
        tasks = TaskRunner(pool.connect, self.role, self.log, self.metrics, reports)
        stack.push_async_callback(tasks.close)
        for name, mine in self.assembly.parts.jobs.items():
            self.queue.know(name, mine)
        if not jobs:
            return None, tasks
        self.worker = Worker(
            pool,
            self.settings.work,
            self.log,
            self.metrics,
            zone=self.settings.hub.timezone,
            actor_of=actor_of(core, catalog),
            on_error=self.note,
        )
        return self.worker, tasks

    def _build_web(self, stack: AsyncExitStack, identity: Identity) -> WebServer:
        web = self.settings.web
        pipeline, streams = Pipeline(web, self.logs, self.metrics), Streams(web.heartbeat, self.metrics)
        outbound = Outbound(web.outbound_allow)
        stack.push_async_callback(outbound.close)
        caller = ContributedCaller(self.assembly.binder, self.by_name, self.note)
        self.running_services |= {HttpClient: outbound, EventStreams: streams, Caller: caller}
        mount = self.mount = Mount(pipeline, identity)
        for name, routes in self.assembly.parts.routes.items():
            record = self.by_name[name]
            for route, bound in routes:
                owner = self.by_name[route.owner] if route.owner else None
                mount.route(record, route, bound, self.database((owner or record).name), owner)
        return WebServer(mount.close(self.records), pipeline, streams, self.log)

    async def _start_plugins(self, stack: AsyncExitStack, worker: Worker | None, tasks: TaskRunner) -> None:
        core = self.database("core")
        for each in self.contributed:
            name = each.record.name
            if each.record.state is State.FOUND:
                await record_subscriptions(core, name, self.assembly.parts.subscriptions.get(name, ()))
        lifecycle = Lifecycle(
            self.records,
            self.hooks,
            self.services,
            self.settings.loader,
            self.log,
            limits=self._limits,
            on_running=partial(self._plugin_runs, worker, tasks),
            on_stopped=partial(self._plugin_stops, worker, tasks),
        )
        stack.push_async_callback(lifecycle.stop)
        if worker is not None:
            stack.push_async_callback(worker.stop)
            await worker.start()
        await lifecycle.start()

    def _limits(self, plugin: str) -> Limits:
        loader, switch = self.settings.loader, self._switches.get(plugin)
        return Limits(
            start=(switch and switch.start_timeout) or loader.start_timeout,
            stop=(switch and switch.stop_timeout) or loader.stop_timeout,
        )

    async def _plugin_runs(self, worker: Worker | None, tasks: TaskRunner, record: Record) -> None:
        parts = self.assembly.parts
        if worker is not None:
            worker.serve(record.name, parts.handlers.get(record.name, ()))
        for task, call in parts.tasks.get(record.name, ()):
            tasks.start(record.name, task, call)

    async def _plugin_stops(self, worker: Worker | None, tasks: TaskRunner, record: Record) -> None:
        await tasks.stop(record.name)
        if worker is not None:
            await worker.withdraw(record.name)
        self.condition.forget(record.name)
