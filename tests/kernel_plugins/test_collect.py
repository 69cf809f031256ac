"""Asking every plugin what it contributes."""

from __future__ import annotations

import pytest
from prometheus_client import Counter

from heartwood.api import (
    Assets,
    HealthCheck,
    Job,
    Migration,
    Permission,
    Plugin,
    Provides,
    Route,
    Subscription,
    Tables,
    Task,
    hookimpl,
    hookspec,
)
from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.permissions import PUBLIC
from heartwood.plugins.collect import collect
from heartwood.plugins.services import ServiceCatalog


class Bell:
    pass


class Rang:
    event_name = "bells.rang"


async def handler():
    return None


def _plugin(name, **values):
    """Make a plugin class whose hooks return ``values``; a callable is called with the context instead."""

    def hook(name, value):
        if name == "tables":
            return hookimpl(lambda self: value(None) if callable(value) else value)
        return hookimpl(lambda self, ctx: value(ctx) if callable(value) else value)

    return type(name.title(), (Plugin,), {"name": name, **{key: hook(key, value) for key, value in values.items()}})


@pytest.fixture(name="collected")
def _collected(registered):
    """Collect plugin classes; returns what passed by name, and all records by name."""

    def collect_classes(*classes, checks=None, prefixes=None):
        hooks, records = registered(*classes)
        for record in records:
            record.prefixes = (prefixes or {}).get(record.name, record.prefixes)
        passed = collect(records, hooks, checks or {})
        return {each.record.name: each for each in passed}, {each.name: each for each in records}

    return collect_classes


READ = Permission("bells.read", "Hear them.")
OTHER = _plugin("other", jobs=[Job("work", handler)])


def test_everything_a_plugin_contributes_is_kept_and_named(collected):
    """The values go up as they are; their names go into the record."""
    route = Route("GET", "/{id}", handler, "bells.read")
    cls = _plugin(
        "bells",
        permissions=[READ],
        routes=lambda ctx: iter([route]),
        services=[Provides(Bell)],
        jobs=(Job("ring", handler),),
        tasks=[Task("swing", handler, every=3)],
        subscriptions=[Subscription(Rang, handler)],
        health_checks=[HealthCheck("rope", handler)],
        metrics=[Counter("heartwood_bells_rings", "Rings.", registry=None)],
        assets=Assets("heartwood_bells"),
        tables=Tables("heartwood_bells.tables:metadata", "heartwood_bells.migrations"),
    )

    passed, records = collected(cls)

    assert [route] == passed["bells"].of("routes")
    assert {
        "permissions": ["bells.read"],
        "services": ["Bell"],
        "routes": ["GET /{id}"],
        "jobs": ["ring"],
        "tasks": ["swing"],
        "subscriptions": ["bells.rang"],
        "health_checks": ["rope"],
        "metrics": ["heartwood_bells_rings"],
        "assets": ["heartwood_bells"],
        "tables": ["heartwood_bells.migrations"],
        "hookspecs": [],
    } == records["bells"].contributions


def test_what_a_plugin_implements_beside_is_named(collected):
    """Its lifespan, the hooks it specifies and those of others that it answers are among its contributions."""

    class Looks:
        @hookspec
        def looks(self, ctx):
            raise NotImplementedError

    class Shell(Plugin):
        name = "shell"

        @hookimpl
        def hookspecs(self):
            return [Looks]

    class Page(Plugin):
        name = "page"

        @hookimpl(optionalhook=True)
        def looks(self, ctx):
            return []

        @hookimpl
        def lifespan(self, ctx):
            return None

    _, records = collected(Shell, Page)
    said = {name: {hook for hook, names in each.contributions.items() if names} for name, each in records.items()}

    assert {"shell": {"hookspecs"}, "page": {"looks", "lifespan"}} == said
    assert ["looks"] == records["shell"].contributions["hookspecs"]
    assert records["page"].contributions["looks"][0].endswith("Page.looks")


def _raise(error):
    def raising(_ctx):
        raise error

    return raising


def _half(_ctx):
    yield Job("one", handler)
    msg = "no"
    raise OSError(msg)


def _exit(_ctx):
    yield Job("one", handler)
    raise SystemExit(3)


def _half_a_table(_ctx):
    yield Migration("0001", "select 1")
    msg = "no"
    raise OSError(msg)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"jobs": _raise(ValueError("no"))}, "jobs: ValueError: no"),
        ({"jobs": _raise(SystemExit(3))}, "jobs: SystemExit: 3"),
        ({"jobs": _half}, "jobs: OSError: no"),
        ({"jobs": "ring"}, "jobs: expected an iterable of Job, got 'ring'"),
        ({"jobs": 3}, "jobs: expected an iterable of Job, got 3"),
        ({"jobs": [handler]}, "jobs: expected Job, got <function handler"),
        ({"metrics": ["rings"]}, "metrics: expected a prometheus_client collector, got 'rings'"),
        ({"tasks": [Task("x", handler)]}, "tasks: task 'x' needs exactly one of cron, every and forever"),
        (
            {"tasks": [Task("x", handler, every=1, forever=True)]},
            "tasks: task 'x' needs exactly one of cron, every and forever",
        ),
        (
            {"jobs": [Job("ring", handler), Job("ring", handler)]},
            "jobs: plugin 'bells' has the same twice: 'ring', 'ring'",
        ),
        (
            {"routes": [Route("GET", "/{id}", handler, "x"), Route("GET", "/{name}", handler, "x", prefix="bells")]},
            "routes: plugin 'bells' has the same twice: 'GET /{id}', 'GET bells/{name}'",
        ),
        (
            {"routes": [Route("GET", "/a", handler, "x"), Route("GET", "/b", handler, "x")]},
            "routes: plugin 'bells' has routes of one name, where `name=` tells them apart: 'GET /a', 'GET /b'",
        ),
        ({"jobs": _exit}, "jobs: SystemExit: 3"),
        ({"tables": 3}, "tables: expected an iterable of Migration, got 3"),
        ({"tables": "0001"}, "tables: expected an iterable of Migration, got '0001'"),
        ({"tables": [3]}, "tables: expected Migration, got 3"),
        ({"tables": _half_a_table}, "tables: OSError: no"),
    ],
)
def test_a_wrong_contribution_fails_that_plugin_only(collected, values, sentence):
    """The hook, the value and what was expected are in the sentence; the others pass."""
    passed, records = collected(_plugin("bells", **values), OTHER)

    assert "failed(collect)" == records["bells"].label
    assert records["bells"].reason.startswith(sentence)
    assert ["other"] == list(passed)


def test_routes_that_differ_pass(collected):
    """Another method, another fixed part or another prefix is another route."""
    routes = [
        Route("GET", "/{id}", handler, "bells.read"),
        Route("POST", "/{id}", handler, "bells.read", name="ring"),
        Route("GET", "/{id}/sound", handler, "bells.read", name="sound"),
        Route("GET", "/{id}", handler, "bells.read", prefix="gongs", name="gong"),
    ]

    passed, _ = collected(_plugin("bells", permissions=[READ], routes=routes), prefixes={"bells": ("bells", "gongs")})

    assert routes == passed["bells"].of("routes")


def test_a_permission_has_one_owner(collected):
    """The later plugin fails and both are named; it would not have been its own either way."""
    rival = _plugin("rival", permissions=[Permission("bells.read", "Mine.")])

    passed, records = collected(_plugin("bells", permissions=[READ]), rival)

    assert ["bells"] == list(passed)
    assert "the permission 'bells.read' of plugin 'rival' belongs to plugin 'bells'" == records["rival"].reason


@pytest.mark.parametrize("name", ["read", "bells", "bells.", "other.read"])
def test_a_permission_starts_with_a_name_of_its_plugin(collected, name):
    """It starts with the plugin's name or a prefix of it, and says an action."""
    _, records = collected(_plugin("bells", permissions=[Permission(name, "x")]), prefixes={"bells": ("ringing",)})

    assert f"permission {name!r} does not start with one of: bells, ringing" == records["bells"].reason


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        (
            Route("GET", "/x", handler, "bells.write"),
            "route 'GET /x' needs the permission 'bells.write', which nobody has declared",
        ),
        (
            Route("GET", "/x", handler, PUBLIC),
            "route 'GET /x' has the permission core.public, which only the kernel's routes may have",
        ),
        (
            Route("GET", "/x", handler, "bells.read", prefix="gongs"),
            "route 'GET gongs/x' lies under 'gongs'; plugin 'bells' has bells",
        ),
        (Route("GET", "x", handler, "bells.read"), "route 'GET x': a path starts with a slash"),
    ],
)
def test_a_route_without_a_right_place_or_permission_fails(collected, route, sentence):
    """There is no route without a permission that somebody declared, and none outside of the plugin's prefixes."""
    _, records = collected(_plugin("bells", permissions=[READ], routes=[route]))

    assert sentence == records["bells"].reason


def test_everything_that_is_wrong_is_said_at_once(collected):
    """Two bad routes are two sentences; a bad permission is not told again for each route that asks for it."""
    two = [Route("GET", "x", handler, "bells.read"), Route("GET", "/y", handler, "bells.no", name="y")]
    refused = _plugin("gongs", permissions=[Permission("bad", "x")], routes=[Route("GET", "/z", handler, "bad")])

    _, records = collected(_plugin("bells", permissions=[READ], routes=two), refused)

    assert (
        "route 'GET x': a path starts with a slash; "
        "route 'GET /y' needs the permission 'bells.no', which nobody has declared"
    ) == records["bells"].reason
    assert "permission 'bad' does not start with one of: gongs" == records["gongs"].reason


def test_a_route_may_ask_for_the_permission_of_another_plugin(collected):
    """The first pass knows every permission before the second looks at routes, whatever the order."""
    user = _plugin("alpha", routes=[Route("GET", "", handler, "bells.read")])

    passed, _ = collected(user, _plugin("bells", permissions=[READ]))

    assert ["alpha", "bells"] == list(passed)


def test_the_floors_above_check_hook_by_hook(collected):
    """All services are checked before any route, so that a route may ask for a service of a later plugin."""
    seen = []
    cls = {"permissions": [READ], "routes": [Route("GET", "", handler, "bells.read")]}
    checks = {
        "services": lambda record, value: seen.append((record.name, value.contract.__name__)),
        "routes": lambda record, value: seen.append((record.name, value.method)),
    }

    collected(_plugin("bells", **cls), _plugin("gong", services=[Provides(Bell)]), checks=checks)

    assert [("gong", "Bell"), ("bells", "GET")] == seen


def test_a_check_of_a_floor_above_fails_the_plugin(collected):
    """Its sentence gets the hook and the value; a later hook of that plugin is not looked at any more."""
    seen = []

    def refuse(_record, _value):
        msg = "cannot be bound"
        raise HeartwoodError(msg)

    cls = _plugin("bells", jobs=[Job("ring", handler)], health_checks=[HealthCheck("rope", handler)])
    checks = {"jobs": refuse, "health_checks": lambda record, _value: seen.append(record.name)}

    passed, records = collected(cls, checks=checks)

    assert {} == passed
    assert "jobs 'ring': cannot be bound" == records["bells"].reason
    assert [] == seen


def test_a_check_that_exits_fails_the_plugin(collected):
    """Annotations of a plugin are evaluated there, and may do anything."""

    def leave(_record, _value):
        raise SystemExit(3)

    passed, records = collected(_plugin("bells", jobs=[Job("ring", handler)]), OTHER, checks={"jobs": leave})

    assert [] == list(passed)
    assert "jobs 'ring': SystemExit: 3" == records["bells"].reason


def test_a_second_provider_names_both_owners(collected):
    """The catalog of services refuses it as a check; the first one stays."""
    catalog = ServiceCatalog()

    passed, records = collected(
        _plugin("bells", services=[Provides(Bell)]),
        _plugin("gong", services=[Provides(Bell)]),
        checks={"services": catalog.promise},
    )

    assert ["bells"] == list(passed)
    assert (
        "services 'Bell': the service Bell of plugin 'gong' is provided by plugin 'bells'; it can have one"
        == records["gong"].reason
    )


def test_unmatched_optional_hooks_are_in_the_record(collected):
    """What nobody specified is listed, and the plugin passes."""

    class Page(Plugin):
        name = "page"

        @hookimpl(optionalhook=True)
        def pages(self, ctx):
            return []

    passed, records = collected(Page)

    assert ["page"] == list(passed)
    assert ["pages"] == records["page"].unmatched_hooks
