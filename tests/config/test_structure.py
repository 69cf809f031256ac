"""Values from TOML and JSON: strict, every fault at once, and the same whichever way they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest
from attrs import define, field, frozen, validators
from hypothesis import given
from hypothesis import strategies as st

from heartwood.config.structure import Unreadable, choices_of, closest, fields_of, reader, structure
from heartwood.contracts.errors import Fault
from heartwood.contracts.routes import Page
from heartwood.contracts.settings import Secret

T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Shape(Enum):
    ROUND = "round"
    FLAT = 3


@frozen
class Box(Generic[T]):
    """One value of any type."""

    value: T


@frozen
class Retry:
    """A part of other values."""

    tries: int = field(validator=validators.ge(1))
    first: float = 1.0


@define
class Order:
    """A value with a bit of everything."""

    id: UUID
    name: str = field(validator=[validators.min_len(1), validators.max_len(10)])
    amount: Decimal
    retry: Retry
    hosts: list[str] = field(factory=list)
    retries: list[Retry] = field(factory=list)
    limits: dict[str, int] = field(factory=dict)
    colour: Colour = Colour.RED
    note: str | None = None
    _hidden: int = 0
    computed: int = field(init=False, default=7)


GOOD = {"id": "00000000-0000-0000-0000-000000000001", "name": "nails", "amount": "1.50", "retry": {"tries": 3}}


def told(cls: Any, value: object, source: str = "json") -> dict[str, str]:
    """Return what is wrong, by place."""
    made, faults = structure(cls, value, source=source)
    assert (made is None) == bool(faults)
    assert len(faults) == len({fault.where for fault in faults})
    return {fault.where: fault.message for fault in faults}


def one(kind: Any, value: object, source: str = "json") -> Any:
    """Return ``value`` read as ``kind``, or the sentence that says why it cannot be."""
    made, faults = structure(Box[kind], {"value": value}, source=source)
    if faults:
        assert ["value"] == [fault.where for fault in faults]
        return faults[0].message
    return made.value


@pytest.fixture(name="source", params=["toml", "json"])
def _source(request) -> str:
    return request.param


# Good values


def test_a_good_value_is_made(source):
    """Defaults are filled in, a private field is called without its underscore, and no fault is told."""
    order, faults = structure(Order, {**GOOD, "hidden": 2}, source=source)
    assert [] == faults
    assert Order(UUID(int=1), "nails", Decimal("1.50"), Retry(3), hidden=2) == order
    assert 7 == order.computed


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, True, True),
        (int, 3, 3),
        (int, -(2**63) + 1, -(2**63) + 1),
        (float, 1.5, 1.5),
        (float, 2, 2.0),
        (str, "", ""),
        (UUID, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
        (Decimal, "-0.10", Decimal("-0.10")),
        (Path, "/tmp/x", Path("/tmp/x")),
        (date, "2025-02-28", date(2025, 2, 28)),
        (time, "23:59", time(23, 59)),
        (datetime, "2025-02-28T12:00:00Z", datetime(2025, 2, 28, 12, tzinfo=UTC)),
        (datetime, "2025-02-28T12:00:00+02:00", datetime(2025, 2, 28, 10, tzinfo=UTC)),
        (Colour, "blue", Colour.BLUE),
        (Level, 2, Level.HIGH),
        (Shape, 3, Shape.FLAT),
        (Literal["a", 1], 1, 1),
        (Any, {"x": [1]}, {"x": [1]}),
        (list[int], [1, 2], [1, 2]),
        (list, [1, "a"], [1, "a"]),
        (Sequence[int], [1], [1]),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[str], ["a", "b", "a"], {"a", "b"}),
        (frozenset[Colour], ["red"], frozenset({Colour.RED})),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Mapping[Colour, list[int]], {"red": [1]}, {Colour.RED: [1]}),
        (int | None, None, None),
        (int | str, "3", "3"),
        (int | str, 3, 3),
        (Retry | None, {"tries": 1}, Retry(1)),
        (list[Retry | None], [None, {"tries": 2}], [None, Retry(2)]),
    ],
)
def test_what_each_type_is_read_from(source, kind, value, expected):
    """The value and its type are what the annotation says."""
    found = one(kind, value, source)
    assert (expected, type(expected)) == (found, type(found))


def test_toml_has_moments_of_its_own():
    """A date and time of TOML is taken as it is, with its offset; JSON has none."""
    moment = datetime(2025, 2, 28, 12, tzinfo=timezone(timedelta(hours=2)))
    assert moment is one(datetime, moment, "toml")
    assert date(2025, 1, 1) == one(date, date(2025, 1, 1), "toml")
    assert one(datetime, moment).startswith("expected a date and time with its offset, got datetime ")


# Strictness


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, "3", "expected int, got str '3'"),
        (int, 3.0, "expected int, got float 3.0"),
        (int, True, "expected int, got bool True"),
        (int, None, "expected int, got None"),
        (int, 2**63, "expected an int of at most 64 bits, got 9223372036854775808"),
        (float, "1.5", "expected float, got str '1.5'"),
        (float, True, "expected float, got bool True"),
        (float, float("nan"), "expected float, got float nan"),
        (float, float("inf"), "expected float, got float inf"),
        (bool, 1, "expected bool, got int 1"),
        (bool, "true", "expected bool, got str 'true'"),
        (str, 7, "expected str, got int 7"),
        (str, ["a"], "expected str, got list ['a']"),
        (UUID, "x", "expected a UUID, got str 'x'"),
        (UUID, 1, "expected a UUID, got int 1"),
        (Decimal, 1.5, "expected a decimal number as text, got float 1.5"),
        (Decimal, "NaN", "expected a decimal number as text, got str 'NaN'"),
        (Decimal, "1e999999", "expected a decimal number as text, got str '1e999999'"),
        (datetime, "2025-02-28T12:00:00", "expected a date and time with its offset, got str '2025-02-28T12:00:00'"),
        (datetime, 0, "expected a date and time with its offset, got int 0"),
        (date, "2025-02-30", "expected a date, got str '2025-02-30'"),
        (time, "24:01", "expected a time, got str '24:01'"),
        (Path, 1, "expected a path, got int 1"),
        (Colour, "RED", "expected one of 'red', 'blue', got 'RED'"),
        (Level, "1", "expected one of 1, 2, got '1'"),
        (Level, True, "expected one of 1, 2, got True"),
        (Level, 1.0, "expected one of 1, 2, got 1.0"),
        (Literal["a", 1], True, "expected one of 'a', 1, got True"),
        (list[int], "12", "expected list, got str '12'"),
        (list[int], {"a": 1}, "expected list, got dict {'a': 1}"),
        (set[str], "ab", "expected list, got str 'ab'"),
        (tuple[int, str], [1], "expected 2 values, got 1"),
        (dict[str, int], [1], "expected dict, got list [1]"),
        (int | None, "x", "expected int or None, got str 'x'"),
        (int | str, None, "expected int or str, got None"),
        (Retry | None, 3, "expected dict, got int 3"),
        (Retry, None, "expected dict, got None"),
        (str, 10**80, f"expected str, got int 1{'0' * 59}…"),
    ],
)
def test_nothing_is_coerced(source, kind, value, expected):
    """What is not of the type is refused in words that show what was wanted and what came, cut where it is long."""
    assert expected == one(kind, value, source)


def test_a_moment_without_offset_is_refused_in_toml_too():
    """Nobody knows which moment it is."""
    assert one(datetime, datetime(2025, 1, 1), "toml").startswith("expected a date and time with its offset")  # noqa: DTZ001  (what is proved)


# Every fault at once


def test_all_faults_are_told_with_their_places(source):
    """In the order of the fields: wrong types, missing ones, validators, elements of lists and tables, unknown keys."""
    value = {
        "name": "",
        "amount": 1,
        "retry": {"tries": 0, "first": "soon", "frist": 1},
        "hosts": ["a", 2, "c", None],
        "retries": [{"tries": 1}, {}, {"tries": -1}],
        "limits": {"a": 1, "b": "x"},
        "colour": "green",
        "note": 3,
        "hiden": 1,
        "computed": 8,
    }
    assert [
        ("id", "missing; it must be given"),
        ("name", "Length of 'name' must be >= 1: 0"),
        ("amount", "expected a decimal number as text, got int 1"),
        ("retry.tries", "must be >= 1, got 0"),
        ("retry.first", "expected float, got str 'soon'"),
        ("retry.frist", "unknown key; did you mean 'first'?"),
        ("hosts.1", "expected str, got int 2"),
        ("hosts.3", "expected str, got None"),
        ("retries.1.tries", "missing; it must be given"),
        ("retries.2.tries", "must be >= 1, got -1"),
        ("limits.b", "expected int, got str 'x'"),
        ("colour", "expected one of 'red', 'blue', got 'green'"),
        ("note", "expected str or None, got int 3"),
        ("hiden", "unknown key; did you mean 'hidden'?"),
        ("computed", f"unknown key{closest('computed', NAMES)}"),
    ] == list(told(Order, value, source).items())


NAMES = ["id", "name", "amount", "retry", "hosts", "retries", "limits", "colour", "note", "hidden"]


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_the_value_itself_may_be_wrong(source, value):
    """Its place is the empty one."""
    assert [""] == list(told(Order, value, source))


def test_an_unknown_key_is_answered_with_the_nearest_or_all():
    """One that is like a known key gets that one, another the list."""
    assert "; did you mean 'tries'?" == closest("trys", ["tries", "first"])
    assert "; known are tries, first" == closest("zzz", ["tries", "first"])
    assert "" == closest("zzz", [])


def test_the_value_of_an_unknown_key_is_not_shown(source):
    """It may be a secret whose key was misspelt."""
    assert "hunter2" not in repr(told(Retry, {"tries": 1, "pasword": "hunter2"}, source))


# Validators


@frozen
class Window:
    """A value whose fields are checked against each other."""

    start: int
    end: int = field()
    name: str = field(default="w", validator=validators.matches_re("[a-z]+"))

    @end.validator
    def _after(self, _: Any, value: int) -> None:
        if value <= self.start:
            msg = f"must be after start ({self.start}), got {value}"
            raise ValueError(msg)


def test_a_validator_may_look_at_other_fields(source):
    """Its sentence belongs to the field that has it, beside those of others."""
    assert {
        "end": "must be after start (5), got 3",
        "name": "'name' must match regex '[a-z]+' ('W' doesn't)",
    } == told(Window, {"start": 5, "end": 3, "name": "W"}, source)


def test_a_validator_that_needs_a_wrong_field_says_nothing(source):
    """The other field's fault is enough."""
    assert {"start": "expected int, got str 'x'"} == told(Window, {"start": "x", "end": 3}, source)


@frozen
class Range:
    """A value whose validator looks at defaults: a plain one, one that is made, one that is made of another field."""

    step: int = 2
    names: list[str] = field(factory=lambda: ["a"])
    end: int = field()
    most: int = field(default=0)

    @end.default
    def _end(self) -> int:
        return 10 * self.step

    @most.validator
    def _within(self, _: Any, value: int) -> None:
        if value > self.end + len(self.names):
            msg = f"must be at most {self.end} + {len(self.names)}"
            raise ValueError(msg)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"most": 21}, {}),
        ({"most": 22}, {"most": "must be at most 20 + 1"}),
        ({"most": 22, "step": 3}, {}),
        ({"most": 22, "names": [], "end": 21}, {"most": "must be at most 21 + 0"}),
        ({"most": 22, "step": "3"}, {"step": "expected int, got str '3'"}),
        ({"most": 22, "end": "9"}, {"end": "expected int, got str '9'"}),
    ],
)
def test_a_validator_sees_the_defaults_of_other_fields(source, value, expected):
    """As attrs would give them; what is made of a wrong field is not there."""
    assert expected == told(Range, value, source)


def test_any_error_of_a_validator_is_a_fault(source):
    """Whatever it raises; its first words are shown."""

    def explode(*_: Any) -> None:
        raise ZeroDivisionError

    @frozen
    class Odd:
        x: int = field(validator=explode)

    assert ["x"] == list(told(Odd, {"x": 1}, source))


# Types


@frozen
class Node:
    """A value that holds others of its kind."""

    name: str
    below: list[Node] = field(factory=list)


def test_a_class_may_hold_its_own_kind(source):
    """To any depth, with the whole place of a fault."""
    tree, faults = structure(Node, {"name": "a", "below": [{"name": "b", "below": [{"name": "c"}]}]}, source=source)
    assert ([], "c") == (faults, tree.below[0].below[0].name)
    assert ["below.0.below.1.name"] == list(
        told(Node, {"name": "a", "below": [{"name": "b", "below": [{"name": "c"}, {"name": 1}]}]}, source)
    )


def test_a_generic_class_is_read_as_what_it_is_of(source):
    """``Page[Retry]`` has items of ``Retry``; without a type it takes anything."""
    page, faults = structure(Page[Retry], {"items": [{"tries": 1}], "next": "x"}, source=source)
    assert ([], Page([Retry(1)], "x")) == (faults, page)
    assert {"items.0.tries": "missing; it must be given"} == told(Page[Retry], {"items": [{}]}, source)
    assert Page([1, "a"]) == structure(Page, {"items": [1, "a"]}, source=source)[0]


def test_generics_are_filled_in_at_any_depth(source):
    """``Box[Box[int]]``, and a class that uses its variable inside of others."""
    assert Box(Box(1)) == structure(Box[Box[int]], {"value": {"value": 1}}, source=source)[0]
    assert {"value.value": "expected int, got str 'x'"} == told(Box[Box[int]], {"value": {"value": "x"}}, source)
    assert [("items", list[Retry]), ("next", str | None)] == [
        (each.name, kind) for each, kind in fields_of(Page[Retry])
    ]


def test_the_first_member_of_a_union_that_fits_is_taken(source):
    """Where none does, all are named; where there is but one class, what is wrong inside of it is told."""
    kind = Retry | Colour
    assert Colour.RED is one(kind, "red", source)
    assert Retry(1) == one(kind, {"tries": 1}, source)
    assert "expected Retry or Colour, got int 7" == one(kind, 7, source)
    assert {"value.tries": "must be >= 1, got 0"} == told(Box[Retry | None], {"value": {"tries": 0}}, source)


def test_what_an_enum_or_literal_allows_is_known():
    """By its written form, in order; another type has no choices."""
    assert {"red": Colour.RED, "blue": Colour.BLUE} == choices_of(Colour)
    assert {"a": "a", 1: 1} == choices_of(Literal["a", 1])
    assert choices_of(int) is None


class Opaque:
    pass


@frozen
class Holder:
    inside: list[Opaque]


@pytest.mark.parametrize("kind", [bytes, complex, Opaque, type, dict[str, Opaque], Opaque | None])
def test_a_type_that_cannot_be_read_is_refused_when_it_is_prepared(source, kind):
    """Before any value comes, naming class and field."""
    with pytest.raises(Unreadable, match=r"Box\.value: .* cannot be read"):
        structure(Box[kind], {"value": 1}, source=source)
    with pytest.raises(Unreadable, match=r"Holder\.inside"):
        reader(Holder)


def test_an_annotation_that_is_not_there_at_run_time_is_refused():
    """The sentence says what to do."""

    @frozen
    class Lost:
        when: "Nowhere"  # noqa: F821, UP037  (what is proved)

    with pytest.raises(Unreadable, match="import it at run time, outside `if TYPE_CHECKING`"):
        structure(Lost, {"when": 1})


# Secrets


@frozen
class Login:
    password: Secret


def resolve(kind: str, name: str) -> str:
    if name == "ABSENT":
        msg = "the variable ABSENT is not set"
        raise ValueError(msg)
    return f"{kind}:{name}"


def login(value: object, secrets: Any = resolve) -> Any:
    made, faults = structure(Login, {"password": value}, secrets=secrets)
    return made.password.reveal() if made else faults


def test_a_secret_is_given_by_reference():
    """``{ env }`` or ``{ file }`` is followed; one that is there already is taken."""
    assert "env:NAME" == login({"env": "NAME"})
    assert "file:/path" == login({"file": "/path"})
    assert "text" == login(Secret("text"))


def test_a_reference_that_leads_nowhere_is_a_fault():
    """With the sentence of whoever follows it."""
    assert [Fault("password", "the variable ABSENT is not set")] == login({"env": "ABSENT"})


@pytest.mark.parametrize(
    "value", ["hunter2", 42, {"env": "A", "file": "B"}, {"env": 1}, {"vault": "hunter2"}, {}, None]
)
def test_a_secret_in_the_clear_is_refused_and_not_shown(value):
    """Whatever it is, the sentence does not repeat it."""
    faults = login(value)
    assert ["password"] == [fault.where for fault in faults]
    assert 'expected { env = "NAME" } or { file = "/path" }' in faults[0].message
    assert not {"hunter2", "42"} & set(faults[0].message.replace("'", " ").split())


def test_in_json_a_secret_is_text():
    """It comes from whoever knows it; it is wrapped at once, and a wrong one is not shown."""
    made, _ = structure(Login, {"password": "hunter2"}, source="json")
    assert ("hunter2", "Login(password=***)") == (made.password.reveal(), repr(made))
    assert {"password": "expected text, got int"} == told(Login, {"password": 42})


# The quick way and the slow one

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "red", "1.5", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tries", "first", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
ORDERS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just(GOOD["id"]) | JUNK,
        "name": st.just("nails") | JUNK,
        "amount": st.sampled_from(["1.50", "-2"]) | JUNK,
        "retry": st.fixed_dictionaries({"tries": st.integers(-1, 3)}, optional={"first": st.floats(0, 1) | JUNK})
        | JUNK,
        "hosts": st.lists(st.text(max_size=2)) | JUNK,
        "retries": st.lists(st.fixed_dictionaries({"tries": st.integers(0, 3)}), max_size=2) | JUNK,
        "limits": st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2) | JUNK,
        "colour": st.sampled_from(["red", "blue"]) | JUNK,
        "note": st.none() | st.text(max_size=2) | JUNK,
        "other": JUNK,
    },
)


def quick(value: object) -> Any:
    try:
        return reader(Order)(value, Order)
    except Exception:  # noqa: BLE001  (it may raise anything, which structure() then says in words)
        return None


def slow(value: object) -> Any:
    """Return what the careful pass makes; TOML's, which is the only one for TOML, knows no other JSON types either."""
    return structure(Order, value, source="toml")[0]


@given(
    ORDERS
    | st.fixed_dictionaries({key: st.just(each) for key, each in GOOD.items()}, optional={"hosts": JUNK, "note": JUNK})
)
def test_the_quick_way_accepts_what_the_slow_one_accepts(value):
    """For any value both make the same instance or none, and ``structure`` agrees with them."""
    value = json.loads(json.dumps(value))
    expected = slow(value)
    assert expected == quick(value)
    made, faults = structure(Order, value, source="json")
    assert (expected, expected is None) == (made, bool(faults))


def test_reading_changes_nothing_in_what_was_read(source):
    """The value may be used again."""
    value = {**GOOD, "hosts": ["a"], "limits": {"a": 1}}
    before = json.dumps(value)
    order, _ = structure(Order, value, source=source)
    order.hosts.append("b")
    order.limits["b"] = 2
    assert before == json.dumps(value)
