"""How a plugin reaches its rows, its bytes and its cache.

SQL is schema-qualified (``ocr.document``); a plugin's schema is its name. Placeholders are PostgreSQL's ``$1``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    import asyncpg

    from heartwood.contracts.people import Actor


@frozen
class Stored:
    """An answer kept under an idempotency key: status, body and headers.

    ``repeated`` says that it was given before, and that nothing was done now.
    """

    status: int
    answer: bytes
    headers: Mapping[str, str] = field(factory=dict)
    repeated: bool = False


class Queries(Protocol):
    """What can be asked of PostgreSQL, inside a transaction or on its own."""

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        ...

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row, or None."""
        ...

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        ...

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement and return PostgreSQL's command tag."""
        ...

    async def executemany(self, sql: str, args: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every sequence of arguments."""
        ...


class Transaction(Queries, Protocol):
    """One unit of work: rows, jobs, events and the audit row commit together or not at all."""

    @property
    def actor(self) -> Actor:
        """Who this is done for."""
        ...

    @property
    def plugin(self) -> str:
        """The plugin in whose name it runs."""
        ...

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection that holds the transaction; never keep it longer than that."""
        ...

    async def audit(self, action: str, subject: str, **detail: Any) -> None:
        """Write down that the actor did ``action`` (``documents.delete``) to ``subject``; ``detail`` is JSON."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call ``call`` once the transaction has committed; it must be quick and must not raise."""
        ...

    def remember(self, answer: Stored) -> None:
        """Give what a repetition of this unit is answered, where it was opened with an idempotency key."""
        ...


class Database(Queries, Protocol):
    """A plugin's way to PostgreSQL: timed under its name, with its share of the connections.

    A SELECT whose connection was lost is asked once more on another one, unless it calls a function of a schema
    (``ocr.f(…)``), ``nextval``, ``setval``, ``set_config``, ``pg_notify`` or an advisory lock. Nothing in a unit is.

    Raises:
        DatabaseUnavailable: no connection within ``data.acquire_timeout`` seconds, or PostgreSQL is away.
    """

    def unit(
        self, actor: Actor, key: str | None = None, *, body: bytes = b""
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of your own. With ``key`` it is done at most once for each actor in 24 hours.

        Args:
            actor: who it is done for.
            key: what :func:`~heartwood.contracts.http.idempotency_key` returned, or a name of your own for what is
                done, which counts in the whole plugin; None: no key.
            body: the SHA-256 of what was asked; the same key with another one is refused.

        Raises:
            Repeated: it has been done. Let it pass: the kernel sends the answer given to ``tx.remember`` then.
            Invalid, Conflict: the key was used with another body; it is in use right now.
        """
        ...


@frozen
class Tables:
    """Where a package keeps its SQLAlchemy tables and its Alembic revisions, as text: only ``heartwood db`` loads them.

    Args:
        metadata: ``package.module:attribute`` of a ``sqlalchemy.MetaData`` whose tables live in the plugin's schema.
        migrations: the package whose ``versions`` folder holds the revisions.
    """

    metadata: str
    migrations: str


@frozen
class Migration:
    """One step of a single-file plugin's schema.

    Args:
        revision: unique and increasing within the plugin, for example ``"0001"``; never changed once published.
        sql: one or several statements; ``{schema}`` stands for the plugin's schema.
    """

    revision: str
    sql: str


@frozen
class Staged:
    """Bytes that lie hashed and fsynced beside the store, waiting to be kept."""

    path: Path
    sha256: str
    size: int


class Blobs(Protocol):
    """Content-addressed bytes. A blob is named by its SHA-256 in lower-case hex and never changes."""

    async def stage(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> Staged:
        """Write ``chunks`` to the staging area, counting and hashing.

        Raises:
            TooLarge: more than ``limit`` bytes came; nothing is left behind.
        """
        ...

    async def keep(self, staged: Staged) -> None:
        """Make staged bytes durable under their hash; keeping what is already there is fine."""
        ...

    async def discard(self, staged: Staged) -> None:
        """Drop staged bytes that are not wanted."""
        ...

    def read(self, sha256: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from ``start`` up to ``end`` (exclusive).

        Raises:
            NotFound: there is no such blob.
        """
        ...

    def local(self, sha256: str) -> AbstractAsyncContextManager[Path]:
        """Give a path that holds the bytes for as long as the context lasts; never write to it."""
        ...

    async def delete(self, sha256: str) -> None:
        """Remove the bytes; removing what is not there is fine."""
        ...


class Cache(Protocol):
    """A place for what can be computed again. It may forget at any moment, and a lost cache raises nothing."""

    async def get(self, key: str) -> bytes | None:
        """Return what was set, or None."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep ``value`` for at most ``ttl`` seconds."""
        ...

    async def delete(self, key: str) -> None:
        """Forget ``key``."""
        ...
