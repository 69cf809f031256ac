"""Where a route may lie."""

from __future__ import annotations

import pytest

from heartwood.contracts.routes import Route
from heartwood.plugins.binding import Binder, CannotBind
from heartwood.plugins.services import ServiceCatalog
from heartwood.web.binding import bind_route


async def handler() -> str:
    return ""


async def one(number: str) -> str:
    return number


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("HEAD", "", "the method 'HEAD' is none of DELETE, GET, PATCH, POST, PUT; HEAD is answered wherever GET is"),
        ("get", "", "the method 'get' is none of"),
        ("GET", "/{a-b}", "the path '/{a-b}' cannot be mounted"),
        ("GET", "/{", "the path '/{' cannot be mounted"),
        ("GET", "/{Id}", "the path '/{Id}' cannot be mounted"),
        ("GET", r"/{id:\d+}", "cannot be mounted"),
        ("GET", "/a?b", "the path '/a?b' cannot be mounted"),
        ("GET", "/a b", "the path '/a b' cannot be mounted"),
    ],
)
def test_a_place_that_cannot_be_mounted_is_refused(method, path, sentence):
    """The sentence has the method or the path; nothing of it reaches the router."""
    with pytest.raises(CannotBind) as refused:
        bind_route("notes", Route(method, path, handler, "notes.read"), Binder(ServiceCatalog()))

    assert sentence in str(refused.value)


@pytest.mark.parametrize("path", ["/{number}", "/{number}.json", "/v1~x/{number}/@all", "/größe/{number}"])
def test_a_part_of_a_path_may_have_text_around(path):
    """A parameter is a part of the path or a piece of one."""
    assert {"number"} == set(bind_route("notes", Route("GET", path, one, "notes.read"), Binder(ServiceCatalog())).path)
