"""Who may call what: every route of the hub, with every kind of credential, has the outcome that it declares."""

from __future__ import annotations

import re
import uuid

import pytest

from heartwood.contracts.people import HUB
from heartwood.contracts.permissions import PUBLIC, Role
from heartwood.identity.people import find_person
from heartwood.identity.permissions import PermissionCatalog
from heartwood.identity.tokens import create_token, new_text, revoke_token
from heartwood_metrics.plugin import MetricsPlugin
from heartwood_ocr.plugin import OcrPlugin

CONFIG = {"plugins": {"metrics": {"config": {"listen": ""}}}}
SCOPE = "documents.read"

PARTS = {"id": str(uuid.UUID(int=7)), "job": "7", "plugin": "nothing"}
"""What stands for the parts of a path; there are no such things, so that nobody changes anything."""

CALLERS = {
    "nobody": None,
    "a wrong token": None,
    "a revoked token": None,
    "an expired token": None,
    "a disabled person": None,
    "the owner": (Role.OWNER, None),
    "the owner with one scope": (Role.OWNER, [SCOPE]),
    "a member": (Role.MEMBER, None),
    "a reader": (Role.READER, None),
    "a reader with one scope": (Role.READER, [SCOPE]),
}
"""Who calls, and their role and scopes; None is refused whatever is called."""

PEOPLE = {"the owner": "owner", "the owner with one scope": "owner", "a member": "ann", "a disabled person": "eve"}


@pytest.fixture(name="hub")
async def _hub(hub_factory):
    return await hub_factory(plugins=[OcrPlugin, MetricsPlugin], config=CONFIG)


async def credentials(hub):
    """Return the headers of each caller."""
    core, catalog = hub.kernel.database("core"), PermissionCatalog(hub.kernel.assembly.parts.permissions)
    texts = {"a wrong token": new_text()}
    async with core.unit(HUB) as tx:
        people = "insert into core.person (name, role) values ('ann', 'member'), ('bob', 'reader'), ('eve', 'member')"
        await tx.execute(people)
        for caller in CALLERS.keys() - {"nobody", "a wrong token"}:
            person = await find_person(tx, PEOPLE.get(caller, "bob"))
            scopes = CALLERS[caller] and CALLERS[caller][1]
            made = await create_token(tx, catalog, person, name=caller, scopes=scopes)
            texts[caller] = made.text
            if caller == "a revoked token":
                await revoke_token(tx, made.id)
        await tx.execute("update core.token set expires_at = now() where name = 'an expired token'")
        await tx.execute("update core.person set disabled_at = now() where name = 'eve'")
    return {caller: {"Authorization": f"Bearer {texts[caller]}"} if caller in texts else {} for caller in CALLERS}


def mounted(hub):
    """Return the permission of each method and path; beside these the router has only gates (404, 405, 503)."""
    kernel = hub.kernel
    declared = {
        (route.method, kernel.mount.path(kernel.by_name[name], route)): route.permission
        for name, routes in kernel.assembly.parts.routes.items()
        for route, _ in routes
    }
    declared |= {("HEAD", path): permission for (method, path), permission in declared.items() if method == "GET"}
    on_router = {(each.method, each.resource.canonical) for each in kernel.mount.app.router.routes()}
    assert declared.keys() == {each for each in on_router if each[0] != "*"}
    return declared


def expected(caller, permission, roles):
    """Return what a caller gets by what route and permission declare: 401, 403, or None for an answer."""
    if permission == PUBLIC:
        return None
    if CALLERS[caller] is None:
        return 401
    role, scopes = CALLERS[caller]
    held = role is Role.OWNER or role in roles[permission]
    return None if held and (scopes is None or permission in scopes) else 403


async def test_every_route_refuses_whom_it_should(hub):
    """All routes times ten callers: nobody gets more than was declared for them, and nobody less."""
    roles = {each.name: each.roles for each in hub.kernel.assembly.parts.permissions}
    callers, routes = await credentials(hub), mounted(hub)
    wrong = []
    for (method, path), permission in routes.items():
        url = re.sub(r"\{(\w+)\}", lambda part: PARTS[part[1]], path)
        for caller, headers in callers.items():
            async with hub.stranger.request(method, url, headers=headers) as answer:
                status = answer.status
            found = status if status in (401, 403) else None
            if found != expected(caller, permission, roles) or status >= 500:
                wrong.append((caller, method, path, permission, status))

    assert [] == wrong
    assert {"GET", "HEAD", "POST", "DELETE"} == {method for method, _ in routes}
    assert 2 == sum(permission == PUBLIC for (method, _), permission in routes.items() if method == "GET")
    assert {"ocr", "metrics", "core"} == set(hub.kernel.assembly.parts.routes)


async def test_a_credential_counts_in_its_header_only(hub):
    """A token in the query or in a cookie, or with another scheme, is none."""
    text = (await credentials(hub))["the owner"]["Authorization"].removeprefix("Bearer ")
    for path, headers in (
        (f"/-/plugins?token={text}", {}),
        (f"/-/plugins?access_token={text}", {}),
        ("/-/plugins", {"Cookie": f"token={text}"}),
        ("/-/plugins", {"Authorization": f"Basic {text}"}),
        ("/-/plugins", {"Authorization": text}),
    ):
        async with hub.stranger.get(path, headers=headers) as answer:
            assert 401 == answer.status
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
