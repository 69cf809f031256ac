"""The reference is written from the classes, and always the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from attrs import frozen, validators

from heartwood.config.reference import reference
from heartwood.contracts.settings import Secret, setting


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Pool:
    """Connections to the database."""

    size: int = setting(10, help="Connections per process.", validator=[validators.ge(2), validators.lt(100)])


@frozen
class Server:
    """Who is asked, and how.

    This paragraph is for readers of the code.
    """

    name: str = setting(help="Its name.", validator=validators.and_(validators.min_len(1), validators.max_len(8)))
    url: Secret | None = setting(None, help="Address | of the server.", env=("SERVER_URL", "URL"))
    pool: Pool = setting(factory=Pool, help="The pool.")
    mode: Literal["fast", "safe"] = setting("fast", help="How.", validator=validators.in_(["fast", "safe"]))
    colour: Colour = setting(Colour.RED, help="Which.")
    listen: list[str] = setting(factory=lambda: ["127.0.0.1:8000"], help="Addresses.")
    limit: float | None = setting(None, help="A limit.", validator=validators.optional(validators.gt(0)))
    code: str = setting("a1", help="A code.", validator=validators.matches_re(r"[a-z]\d"))


EXPECTED = """\
## `[server]`

Who is asked, and how.

| setting | type | default | what it does |
|---|---|---|---|
| `name` | text | **must be given** | Its name. Must be at least 1 long, at most 8 long. |
| `url` | secret or nothing | not set | Address \\| of the server. Also set by `SERVER_URL`, `URL`. |
| `mode` | `fast` or `safe` | `"fast"` | How. Must be one of `"fast"`, `"safe"`. |
| `colour` | `red` or `blue` | `"red"` | Which. |
| `listen` | list of text | `["127.0.0.1:8000"]` | Addresses. |
| `limit` | number or nothing | not set | A limit. Must be > 0. |
| `code` | text | `"a1"` | A code. Must be like `[a-z]\\d`. |

## `[server.pool]`

Connections to the database.

| setting | type | default | what it does |
|---|---|---|---|
| `size` | whole number | `10` | Connections per process. Must be >= 2, < 100. |
"""


def test_the_reference_says_all_of_a_class():
    """Name, type, default, help, rules and further variables of every setting, nested classes below."""
    text = reference({"server": Server})
    assert text.startswith("# Settings\n")
    assert text.partition("## ")[1] + text.partition("## ")[2] == EXPECTED


def test_the_reference_is_always_the_same():
    """Written twice it is the same text, so that a diff finds changes only."""
    assert reference({"server": Server}) == reference({"server": Server})
