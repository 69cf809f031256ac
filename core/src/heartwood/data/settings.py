"""The section ``[data]``: where rows, bytes and the cache live."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from attrs import frozen, validators

from heartwood.contracts.settings import Secret, setting

_HOSTS = re.compile(r"(?:(?:[^][:@,]*|\[[^]]*\])(?::\d*)?(?:,|\Z))*")


def check_address(url: str) -> None:
    """Refuse what is no address of a PostgreSQL server, without a word of it: there may be a password in it.

    A ``/``, ``?`` or ``#`` in a password cuts the address in two, and a piece of the password would pass for the host.

    Raises:
        ValueError: with what an address looks like.
    """
    scheme, _, rest = url.partition("://")
    login = re.split("[/?#]", rest, maxsplit=1)[0]
    if (
        scheme not in ("postgresql", "postgres")
        or "@" in rest[len(login) :]
        or not _HOSTS.fullmatch(login.rpartition("@")[2])
    ):
        msg = (
            "is no valid address; write postgresql://user:password@host:5432/name, "
            "and in a password %2F for /, %3F for ?, %23 for #, %40 for @"
        )
        raise ValueError(msg)


def _address(_: Any, __: Any, value: Secret | None) -> None:
    if value is not None and value.reveal():
        check_address(value.reveal())


@frozen
class DataSettings:
    """Where data lives, and how much of PostgreSQL is used.

    Nothing has to be set: without an address the hub runs a PostgreSQL of its own below ``dir``.
    """

    dir: str = setting(
        "",
        help="Folder of everything that must be kept; empty: $STATE_DIRECTORY, /var/lib/heartwood for root, "
        "else ~/.local/share/heartwood.",
    )
    runtime_dir: str = setting(
        "",
        help="Folder of sockets, at most 60 bytes; empty: $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/heartwood, "
        "else a private folder under the temporary directory.",
    )
    database_url: Secret | None = setting(
        None,
        help="Address of a PostgreSQL server (postgresql://user:password@host:5432/name); empty: the embedded one.",
        env=("DATABASE_URL",),
        validator=_address,
    )
    postgres_host: str = setting(
        "", help="Host (or socket folder) of PostgreSQL, instead of an address.", env=("POSTGRES_HOST",)
    )
    postgres_port: int | None = setting(None, help="Port of PostgreSQL; 5432 by default.", env=("POSTGRES_PORT",))
    postgres_db: str = setting("", help="Name of the database; heartwood by default.", env=("POSTGRES_DB",))
    postgres_user: str = setting("", help="Role to connect as; heartwood by default.", env=("POSTGRES_USER",))
    postgres_password: Secret | None = setting(None, help="Password of that role.", env=("POSTGRES_PASSWORD",))
    migrate_url: Secret | None = setting(
        None,
        help="Address with a role that may change the schema; empty: the same as the database's.",
        validator=_address,
    )
    auto_migrate: bool | None = setting(
        None, help="Whether a start applies pending migrations; unset: only with the embedded server."
    )
    pool_size: int = setting(10, help="Connections per process.", validator=validators.ge(2))
    acquire_timeout: float = setting(
        5.0, help="Seconds to wait for a connection before answering 503.", validator=validators.gt(0)
    )
    statement_timeout: float = setting(
        30.0,
        help="Seconds after which a statement, or a transaction that does nothing, is ended.",
        validator=validators.gt(0),
    )
    plugin_share: float = setting(
        0.5,
        help="Share of the connections that one plugin may hold at a time.",
        validator=validators.and_(validators.gt(0), validators.le(1)),
    )
    redis_url: Secret | None = setting(
        None, help="Address of a Redis server for cache and fan-out; empty: in memory.", env=("REDIS_URL",)
    )
    blobs: str = setting("", help="Where bytes are kept: empty for the folder blobs below dir, or s3://bucket/prefix.")
    blobs_endpoint: str = setting("", help="Address of an S3-compatible store; empty: Amazon's.")
    blobs_region: str = setting("us-east-1", help="Region of the bucket.")
    blobs_key: str = setting("", help="Access key of the bucket.")
    blobs_secret: Secret | None = setting(None, help="Secret key of the bucket.")
    disk_floor: int = setting(
        512 * 1024**2, help="Bytes kept free; uploads that would go below are refused.", validator=validators.ge(0)
    )

    def external_url(self) -> str | None:
        """Return the address of the external server, or None where the embedded one is meant."""
        if self.database_url is not None and self.database_url.reveal():
            return self.database_url.reveal()
        password = self.postgres_password.reveal() if self.postgres_password is not None else ""
        parts = (self.postgres_host, self.postgres_port, self.postgres_db, self.postgres_user, password)
        return self._composed(password) if any(parts) else None

    def _composed(self, password: str) -> str:
        user = quote(self.postgres_user or "heartwood", safe="")
        login = f"{user}:{quote(password, safe='')}" if password else user
        name = quote(self.postgres_db or "heartwood", safe="")
        host, port = self.postgres_host or "localhost", self.postgres_port or 5432
        if host.startswith("/"):
            return f"postgresql://{login}@/{name}?host={quote(host)}&port={port}"
        return f"postgresql://{login}@{f'[{host}]' if ':' in host else host}:{port}/{name}"
