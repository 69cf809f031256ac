"""The hooks of the kernel. Each says when it is called, with what, what it returns, and what happens when it raises.

Common to all: synchronous, called once after the plugin's configuration is known and before anything is started.
A hook may leave out arguments it does not need. Where one raises, or returns something else than it should, the
plugin becomes ``failed(collect)``, nothing of it is started, and the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.plugins.plugin import hookspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from prometheus_client.registry import Collector

    from heartwood.contracts.assets import Assets
    from heartwood.contracts.data import Migration, Tables
    from heartwood.contracts.events import Subscription
    from heartwood.contracts.health import HealthCheck
    from heartwood.contracts.jobs import Job
    from heartwood.contracts.permissions import Permission
    from heartwood.contracts.routes import Route
    from heartwood.contracts.services import Provides
    from heartwood.contracts.tasks import Task
    from heartwood.plugins.plugin import PluginContext


class ExtensionSpecs:
    """Hooks by which plugins extend each other."""

    @hookspec
    def hookspecs(self) -> Iterable[type]:
        """Return classes of new hook specifications that other plugins may implement.

        Called when the plugin is registered, before any other hook. A specification is a method marked with
        ``hookspec``; its owner asks it with ``ctx.contributions(name)``. Others implement it with
        ``@hookimpl(optionalhook=True)``, so that they also work where this plugin is not installed.
        """
        raise NotImplementedError

    @hookspec
    def services(self, ctx: PluginContext) -> Iterable[Provides]:
        """Return the services this plugin provides.

        A second provider of a contract that has ``one`` is refused, and the message names both.
        """
        raise NotImplementedError


class HttpSpecs:
    """Hooks about the HTTP API."""

    @hookspec
    def routes(self, ctx: PluginContext) -> Iterable[Route]:
        """Return the plugin's routes.

        They are mounted below ``/business/<prefix>``. A route without permission, with a handler that cannot be
        bound, or that clashes with another is an error.
        """
        raise NotImplementedError

    @hookspec
    def permissions(self, ctx: PluginContext) -> Iterable[Permission]:
        """Return the permissions that the plugin's routes ask for. What is not listed here nobody holds."""
        raise NotImplementedError

    @hookspec
    def assets(self, ctx: PluginContext) -> Assets | None:
        """Return where the plugin's templates and static files lie."""
        raise NotImplementedError


class WorkSpecs:
    """Hooks about work in the background."""

    @hookspec
    def jobs(self, ctx: PluginContext) -> Iterable[Job]:
        """Return the kinds of durable jobs; they run in any process that has this plugin enabled."""
        raise NotImplementedError

    @hookspec
    def tasks(self, ctx: PluginContext) -> Iterable[Task]:
        """Return schedules and background tasks. They start after the plugin's lifespan has been entered."""
        raise NotImplementedError

    @hookspec
    def subscriptions(self, ctx: PluginContext) -> Iterable[Subscription]:
        """Return the durable events the plugin wants to be told of."""
        raise NotImplementedError

    @hookspec
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[Any]:
        """Return one async context manager, entered at start and left at stop.

        It has ``start_timeout`` seconds to enter and ``stop_timeout`` to leave, with a warning at a quarter of each.
        Raising ``NotReady`` means "my upstream is not there yet": the plugin is ``retrying(n)`` and entered again
        with a growing delay. Raising anything else makes it ``failed(start)``. Where it ends by itself later, the
        plugin is ``failed(run)``: its tasks stop, its jobs stay queued, and plugins that require it are skipped. What
        it yields becomes the value of the services it provides.
        """
        raise NotImplementedError


class OpsSpecs:
    """Hooks about tables, metrics and health."""

    @hookspec
    def tables(self) -> Iterable[Migration] | Tables | None:
        """Return where the plugin's tables are: ``Tables`` for a package, ``Migration`` values for a single file.

        Asked without a context: where tables are does not depend on how the hub is configured.
        """
        raise NotImplementedError

    @hookspec
    def metrics(self, ctx: PluginContext) -> Iterable[Collector]:
        """Return prometheus_client instruments and collectors, made with ``registry=None``.

        Their names start with ``heartwood_<plugin>_`` or stand in the shared list of metric names. A collector that
        raises is left out of the scrape and counted.
        """
        raise NotImplementedError

    @hookspec
    def health_checks(self, ctx: PluginContext) -> Iterable[HealthCheck]:
        """Return the questions that tell whether the plugin can do its work."""
        raise NotImplementedError


KERNEL_SPECS: tuple[type, ...] = (ExtensionSpecs, HttpSpecs, WorkSpecs, OpsSpecs)
