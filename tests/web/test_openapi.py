"""The OpenAPI document: valid, complete, and as strict as what it describes."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Literal
from uuid import UUID

import attrs
import jsonschema
import pytest
from aiohttp import web
from attrs import field, frozen, validators
from openapi_spec_validator import OpenAPIV31SpecValidator

from heartwood.config.structure import Unreadable, structure
from heartwood.contracts.data import Transaction
from heartwood.contracts.errors import Fault
from heartwood.contracts.jobs import JobInfo, JobState
from heartwood.contracts.people import Actor
from heartwood.contracts.permissions import PUBLIC
from heartwood.contracts.routes import Answer, Page, Route
from heartwood.contracts.settings import setting
from heartwood.plugins.binding import Binder
from heartwood.plugins.codec import encode
from heartwood.plugins.services import ServiceCatalog
from heartwood.web.binding import bind_route
from heartwood.web.openapi import Mounted, document
from heartwood.web.schemas import NoSchema, constrained


class Colour(StrEnum):
    """The colour of a note."""

    RED = "red"
    BLUE = "blue"


class Weight(Enum):
    LIGHT = 1
    HEAVY = 2


@frozen
class Line:
    """One line of a note."""

    text: str = field(validator=validators.min_len(1))
    amount: Decimal = Decimal(0)


@frozen
class Note:
    """A note with its lines."""

    id: UUID
    title: str
    colour: Colour
    created: datetime
    due: date | None
    lines: list[Line] = field(factory=list)
    labels: dict[str, int] = field(factory=dict)
    above: Note | None = None


@frozen
class NewNote:
    """What a note is made of."""

    title: str = setting(
        help="What it is called.", validator=validators.and_(validators.min_len(1), validators.max_len(80))
    )
    lines: list[Line] = field(validator=validators.max_len(3))
    colour: Colour = Colour.RED
    weight: Weight = Weight.LIGHT
    number: int = field(default=1, validator=[validators.ge(1), validators.lt(100)])
    share: float | None = field(
        default=None, validator=validators.optional(validators.and_(validators.gt(0), validators.le(1)))
    )
    code: str = field(default="A-1", validator=validators.matches_re(r"[A-Z]-\d+"))
    kind: str = field(default="plain", validator=validators.in_(["plain", "fancy"]))
    mode: Literal["fast", "slow"] = "slow"
    marks: list[int] = field(factory=list, validator=validators.deep_iterable(validators.ge(0), validators.max_len(2)))


GOOD = {"title": "Milk", "lines": [{"text": "one litre"}]}
BAD = [
    {},
    {**GOOD, "title": ""},
    {**GOOD, "title": "x" * 81},
    {**GOOD, "title": 7},
    {**GOOD, "lines": [{"text": ""}]},
    {**GOOD, "lines": [{"text": "a"}] * 4},
    {**GOOD, "lines": [{"text": "a", "amount": 1.5}]},
    {**GOOD, "lines": [{"text": "a", "other": 1}]},
    {**GOOD, "colour": "green"},
    {**GOOD, "weight": 3},
    {**GOOD, "number": 0},
    {**GOOD, "number": 100},
    {**GOOD, "share": 0},
    {**GOOD, "share": 1.1},
    {**GOOD, "code": "A-1x"},
    {**GOOD, "kind": "other"},
    {**GOOD, "mode": "faster"},
    {**GOOD, "marks": [-1]},
    {**GOOD, "marks": [1, 2, 3]},
    {**GOOD, "unknown": 1},
]


async def list_notes(actor: Actor, q: str = "", colour: list[Colour] = [], limit: int = 50) -> Page[Note]:  # noqa: B006
    """List the notes, newest first.

    With ``q`` those that match.
    """


async def show(actor: Actor, note: UUID) -> Note:
    """Show a note."""


async def make(tx: Transaction, body: NewNote, when: datetime) -> Answer[Note]:
    """Make a note."""


async def drop(tx: Transaction, note: UUID) -> None:
    """Drop a note."""


async def latest() -> Note | None:
    """Show the latest note, if there is one."""


async def picture(request: web.Request) -> web.StreamResponse:
    """Send the picture as image/png."""


async def health() -> str:
    """Say one word."""


async def counts() -> dict[str, list[int]]:
    """Count."""


async def jobs() -> Page[JobInfo]:
    """List jobs."""


READ, WRITE = "notes.read", "notes.write"
ROUTES = [
    Route("GET", "", list_notes, READ),
    Route("POST", "", make, WRITE, status=201),
    Route("GET", "/latest", latest, READ),
    Route("GET", "/counts", counts, READ, summary="How many there are."),
    Route("GET", "/health", health, PUBLIC),
    Route("GET", "/jobs", jobs, READ),
    Route("GET", "/{note}", show, READ),
    Route("DELETE", "/{note}", drop, WRITE),
    Route("GET", "/picture", picture, READ, raw=True),
]


def mounted(*routes: Route, plugin: str = "notes") -> list[Mounted]:
    """Bind routes as the kernel does, and put them below the plugin's name."""
    binder = Binder(ServiceCatalog())
    return [Mounted(plugin, f"/business/{plugin}{each.path}", bind_route(plugin, each, binder)) for each in routes]


@pytest.fixture(name="found", scope="module")
def _found() -> dict[str, Any]:
    """The document of the plugin ``notes``, as a client reads it."""
    return json.loads(encode(document(mounted(*ROUTES), version="1.2")))


def operation(found: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    return found["paths"][f"/business/notes{path}"][method]


def schema_of(found: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """Return a validator of a named schema, which may refer to others of the document."""
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": found["components"]})


def test_it_is_valid(found):
    """The reference validator of OpenAPI 3.1 has nothing to say against it."""
    assert [] == [str(error) for error in OpenAPIV31SpecValidator(found).iter_errors()]
    assert ("3.1.0", "1.2") == (found["openapi"], found["info"]["version"])


def test_every_route_is_there(found):
    """Each has its plugin as tag, a name of its own, and the permission that it needs."""
    there = {
        (method.upper(), path.removeprefix("/business/notes")): each
        for path, methods in found["paths"].items()
        for method, each in methods.items()
    }
    assert {(route.method, route.path) for route in ROUTES} == set(there)
    for route in ROUTES:
        each = there[route.method, route.path]
        assert (["notes"], f"notes.{route.label}", route.permission) == (
            each["tags"],
            each["operationId"],
            each["x-permission"],
        )
    assert [{"name": "notes"}] == found["tags"]


def test_the_order_of_routes_does_not_matter():
    """The document can be compared as text."""
    assert encode(document(mounted(*ROUTES), version="1")) == encode(document(mounted(*ROUTES[::-1]), version="1"))


def test_a_token_is_needed_unless_the_route_is_public(found):
    """Bearer is the only scheme; a public route has none."""
    assert [{"token": []}] == found["security"]
    assert ("http", "bearer") == tuple(
        found["components"]["securitySchemes"]["token"][key] for key in ("type", "scheme")
    )
    assert [] == operation(found, "get", "/health")["security"]
    assert "security" not in operation(found, "get", "")


def test_the_docstring_is_the_documentation(found):
    """Its first line is the summary, the rest the description; a summary of the route comes first."""
    each = operation(found, "get", "")
    assert ("List the notes, newest first.", "With ``q`` those that match.") == (each["summary"], each["description"])
    counted = operation(found, "get", "/counts")
    assert ("How many there are.", "Count.") == (counted["summary"], counted["description"])


def test_path_and_query_parameters(found):
    """Names, types, defaults, and which are required; what is injected is not among them."""
    assert [
        {"name": "q", "in": "query", "required": False, "schema": {"type": "string", "default": ""}},
        {
            "name": "colour",
            "in": "query",
            "required": False,
            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/notes.Colour"}, "default": []},
        },
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "format": "int64", "default": 50},
        },
    ] == operation(found, "get", "")["parameters"]
    assert {
        "name": "note",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    } == operation(found, "get", "/{note}")["parameters"][0]
    assert operation(found, "post", "")["parameters"][0]["required"]


def test_unsafe_routes_take_an_idempotency_key(found):
    """Others do not, for they are safe to repeat."""
    key = {"$ref": "#/components/parameters/IdempotencyKey"}
    assert key in operation(found, "post", "")["parameters"]
    assert key in operation(found, "delete", "/{note}")["parameters"]
    assert key not in operation(found, "get", "")["parameters"]


def test_answers(found):
    """An answer has the status of its route; None is 204, and something or None may be either."""
    assert ["201"] == [status for status in operation(found, "post", "")["responses"] if status < "300"]
    assert ["204"] == [status for status in operation(found, "delete", "/{note}")["responses"] if status < "300"]
    assert ["200", "204"] == [status for status in operation(found, "get", "/latest")["responses"] if status < "300"]
    assert ["200"] == [status for status in operation(found, "get", "/counts")["responses"] if status < "300"]
    counted = operation(found, "get", "/counts")["responses"]["200"]["content"]["application/json"]["schema"]
    numbers = {"type": "array", "items": {"type": "integer", "format": "int64"}}
    assert {"type": "object", "additionalProperties": numbers} == counted


def test_a_raw_route_is_documented_by_its_text_only(found):
    """Neither a schema nor a status is claimed."""
    each = operation(found, "get", "/picture")
    assert ["2XX", "401", "403", "503", "default"] == sorted(each["responses"])
    assert "content" not in each["responses"]["2XX"]
    assert not {"requestBody", "parameters"} & set(each)


def test_problems_are_shared_responses(found):
    """Each route names those that it answers with by itself; all are problem+json."""
    refused = {
        status: each["$ref"].rpartition("/")[2]
        for status, each in operation(found, "post", "")["responses"].items()
        if status > "300"
    }
    assert {
        "401": "Unauthorized",
        "403": "Forbidden",
        "409": "Conflict",
        "413": "TooLarge",
        "415": "UnsupportedMedia",
        "422": "Invalid",
        "503": "Unavailable",
        "default": "Problem",
    } == refused
    assert {"200", "422", "503", "default"} == set(operation(found, "get", "/health")["responses"])
    assert "404" in operation(found, "get", "/{note}")["responses"]
    for each in found["components"]["responses"].values():
        assert {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}} == each["content"]


def test_a_body_schema_accepts_what_the_hub_accepts(found):
    """A good body passes the schema and the hub."""
    body = operation(found, "post", "")["requestBody"]
    assert body["required"]
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "notes.NewNoteInput" == name
    schema_of(found, name).validate(GOOD)
    assert [] == structure(NewNote, GOOD, source="json")[1]


@pytest.mark.parametrize("bad", BAD, ids=[f"{number}" for number in range(len(BAD))])
def test_a_body_schema_refuses_what_the_hub_refuses(found, bad):
    """Every validator and every type is in the schema."""
    assert structure(NewNote, bad, source="json")[1]
    assert not schema_of(found, "notes.NewNoteInput").is_valid(bad)


def test_an_answer_schema_fits_what_the_hub_writes(found):
    """All fields are there, also those with defaults, and a class may refer to itself."""
    line = Line("one litre", Decimal("1.50"))
    above = Note(UUID(int=1), "Food", Colour.RED, datetime.now(UTC), None)
    note = Note(UUID(int=2), "Milk", Colour.BLUE, datetime.now(UTC), date(2025, 1, 2), [line], {"a": 1}, above)
    written = json.loads(encode(Page([note, above], "next")))
    schema_of(found, "notes.PageOfNote").validate(written)
    del written["items"][0]["labels"]
    assert not schema_of(found, "notes.PageOfNote").is_valid(written)


def test_classes_and_fields_have_their_text(found):
    """The docstring of a class and the help of a setting describe them."""
    schemas = found["components"]["schemas"]
    assert "A note with its lines." == schemas["notes.Note"]["description"]
    assert "What it is called." == schemas["notes.NewNoteInput"]["properties"]["title"]["description"]
    assert {"description": "The colour of a note.", "enum": ["red", "blue"]} == schemas["notes.Colour"]


def test_classes_of_the_contracts_have_one_name(found):
    """They mean the same whichever plugin speaks of them."""
    schemas = found["components"]["schemas"]
    assert {"PageOfJobInfo", "JobInfo", "JobState", "Actor", "Problem", "Fault"} <= set(schemas)
    assert [str(state) for state in JobState] == schemas["JobState"]["enum"]
    assert {each.name for each in attrs.fields(Fault)} == set(schemas["Fault"]["properties"])


def other_note() -> Any:
    """Return another plugin's handler whose answer is another class called ``Note``."""

    @frozen
    class Note:
        """Something else."""

        pitch: int

    async def note() -> Note:
        """Play."""

    note.__annotations__["return"] = Note
    return note


def test_names_of_two_plugins_do_not_clash():
    """Each has its own, under its own name, and one plugin's do not depend on the other's."""
    ours, theirs = mounted(*ROUTES), mounted(Route("GET", "", other_note(), "music.play"), plugin="music")
    both = document([*theirs, *ours], version="1")["components"]["schemas"]
    assert {"notes.Note", "music.Note"} <= set(both)
    assert {"pitch"} == set(both["music.Note"]["properties"])
    alone = document(ours, version="1")["components"]["schemas"]
    assert alone == {name: each for name, each in both.items() if not name.startswith("music.")}


def test_two_classes_of_one_name_in_a_plugin_are_kept_apart():
    """The second is called by its module."""
    routes = (Route("POST", "/a", show_first, WRITE), Route("GET", "/b", show_second, READ))
    made = document(mounted(*routes), version="1")
    schemas = made["components"]["schemas"]
    qualified = next(name for name in schemas if name.endswith("test_openapi.LineInput"))
    assert ("One line of a note.", LineInput.__doc__) == (
        schemas["notes.LineInput"]["description"],
        schemas[qualified]["description"],
    )
    assert [] == list(OpenAPIV31SpecValidator(made).iter_errors())


@frozen
class LineInput:
    """A class whose name is what the body's schema of another is called."""

    text: str


@frozen
class Wrapped:
    line: Line


async def show_first(body: Wrapped) -> None:
    """Take a line."""


async def show_second() -> LineInput:
    """Give what is called alike."""


class Opaque:
    """Nothing that JSON could say."""


@frozen
class Holder:
    inside: Opaque


async def opaque() -> Holder:
    """Return it."""


def test_what_json_cannot_say_is_refused_by_its_place():
    """The sentence names class, field and type."""
    with pytest.raises(NoSchema, match=re.escape("Holder.inside: Opaque has no form in JSON")):
        document(mounted(Route("GET", "", opaque, READ)), version="1")


def test_a_type_that_is_not_known_at_run_time_is_refused():
    """The sentence says what to do about it."""

    @frozen
    class Lost:
        when: "Nowhere"  # noqa: F821, UP037  (what is proved)

    async def lost() -> Any:
        """Return it."""

    lost.__annotations__["return"] = Lost
    with pytest.raises(Unreadable, match="import it at run time"):
        document(mounted(Route("GET", "", lost, READ)), version="1")


@pytest.mark.parametrize(
    ("pattern", "way", "expected"),
    [
        ("a|b", None, {"pattern": "^(?:a|b)$"}),
        ("a", re.match, {"pattern": "^(?:a)"}),
        ("a", re.search, {"pattern": "a"}),
        ("(?P<x>a)", None, {}),
        (r"\Aa", re.search, {}),
    ],
)
def test_patterns_are_written_for_other_languages(pattern, way, expected):
    """Anchors are spelt out; what only Python understands is left out."""
    made = constrained({"type": "string"}, validators.matches_re(pattern, func=way))
    assert {"type": "string", **expected} == made


def test_what_a_schema_cannot_say_is_left_out():
    """A bound of a decimal number, which is text, and a validator of one's own."""
    amount = {"type": "string", "format": "decimal"}
    assert amount == constrained(amount, validators.ge(Decimal(1)))
    assert amount == constrained(amount, validators.not_(validators.min_len(1)))
    assert amount == constrained(amount, lambda *_: None)
    assert {"type": "string", "enum": ["a", "b"]} == constrained({"type": "string"}, validators.in_({"b", "a"}))
