"""Alembic, driven from code: plugins have revisions and no ``env.py``. Imported only where there is something to do."""

from __future__ import annotations

import importlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, StaticPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.util import await_only

from heartwood.contracts.data import Tables
from heartwood.data.migrations.sources import MigrationError, MigrationSource
from heartwood.data.migrations.standing import VERSION_TABLE, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from alembic.operations.ops import UpgradeOps


@Operations.register_operation("run_script")
class RunScript(MigrateOperation):
    """The directive ``op.run_script(sql)``: run one or several statements as they stand.

    ``op.execute`` takes a single one, because asyncpg prepares it. The script runs in the plugin's transaction.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql

    @classmethod
    def run_script(cls, operations: Operations, sql: str) -> None:
        """Run ``sql``."""
        operations.invoke(cls(sql))


@Operations.implementation_for(RunScript)
def _run_script(operations: Operations, operation: RunScript) -> None:
    connection = operations.get_bind()
    connection.execute(text("select 1"))  # SQLAlchemy begins its transaction with the first statement of its own
    raw: Any = connection.connection.driver_connection
    await_only(raw.execute(operation.sql))


@asynccontextmanager
async def transaction(connection: asyncpg.Connection) -> AsyncIterator[AsyncConnection]:
    """Give SQLAlchemy the connection that holds the lock, inside one transaction."""

    async def same() -> asyncpg.Connection:
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=same, poolclass=StaticPool)
    async with engine.begin() as wrapped:
        yield wrapped


async def apply_package(connection: asyncpg.Connection, source: MigrationSource) -> None:
    """Apply all pending revisions of a package in one transaction, which begins with SQLAlchemy's first statement."""
    async with transaction(connection) as wrapped:
        await wrapped.execute(text("select 1"))
        await connection.execute(VERSION_TABLE.replace("{schema}", quoted(source.plugin)))
        await wrapped.run_sync(_apply, source)


def _apply(connection: Connection, source: MigrationSource) -> None:
    script = ScriptDirectory(source.folder.parent, version_locations=[source.folder])

    def steps(current: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", current)  # noqa: SLF001  (what alembic.command.upgrade calls)

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, version_table_schema=source.plugin)
        environment.run_migrations()


async def differences(connection: asyncpg.Connection, source: MigrationSource) -> list[str]:
    """Say in words where the database differs from the package's ``MetaData``; nothing is changed."""
    metadata = load_metadata(source)
    async with transaction(connection) as wrapped:
        found = await wrapped.run_sync(lambda sync: compare_metadata(_context(sync, source, metadata), metadata))
    return [_words(difference) for difference in found]


async def draft(connection: asyncpg.Connection, source: MigrationSource) -> str:
    """Return the body of ``upgrade()`` that would bring the database to the package's ``MetaData``."""
    metadata = load_metadata(source)
    async with transaction(connection) as wrapped:
        found = await wrapped.run_sync(lambda sync: produce_migrations(_context(sync, source, metadata), metadata))
    operations: UpgradeOps | None = found.upgrade_ops
    return "pass" if operations is None or operations.is_empty() else render_python_code(operations)


def load_metadata(source: MigrationSource) -> MetaData:
    """Import the ``MetaData`` that the plugin names.

    Raises:
        MigrationError: it can not be imported, or is something else.
    """
    assert isinstance(source.tables, Tables)  # noqa: S101  (asked of packages only)
    module, _, attribute = source.tables.metadata.partition(":")
    try:
        value = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"plugin {source.plugin!r}: metadata {source.tables.metadata!r} can not be imported: {error}"
        raise MigrationError(msg) from error
    if not isinstance(value, MetaData):
        msg = f"plugin {source.plugin!r}: {source.tables.metadata!r} is {type(value).__name__}, not sqlalchemy.MetaData"
        raise MigrationError(msg)
    return value


def _context(connection: Connection, source: MigrationSource, metadata: MetaData) -> MigrationContext:
    """Return a context that sees the tables of the plugin's schema and no others."""

    def name_is_ours(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "schema" or name == source.plugin

    def object_is_ours(thing: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return kind != "table" or (thing.schema == source.plugin and name != "alembic_version")

    options = {
        "target_metadata": metadata,
        "version_table_schema": source.plugin,
        "include_schemas": True,
        "include_name": name_is_ours,
        "include_object": object_is_ours,
        "compare_type": True,
    }
    return MigrationContext.configure(connection, opts=options)


def _words(difference: Any) -> str:
    """Turn one of Alembic's tuples, or a list of those for one column, into a line."""
    if isinstance(difference, list):
        return "; ".join(_words(part) for part in difference)
    action, *parts = difference
    named = [str(getattr(part, "name", part)) for part in parts if part is not None and not isinstance(part, dict)]
    return f"{action.replace('_', ' ')}: {' '.join(named)}"
