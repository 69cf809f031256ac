"""People, tokens, audit, idempotency, subscriptions; and schema ``queue`` as PgQueuer 1.6 makes it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "core_0001"
down_revision = None

CORE = """
create table core.person (
    id bigint generated always as identity primary key,
    name text not null unique,
    role text not null constraint person_role_check check (role in ('owner', 'member', 'reader')),
    created_at timestamptz not null default now(),
    disabled_at timestamptz
);
insert into core.person (name, role) values ('owner', 'owner');

create table core.token (
    id bigint generated always as identity primary key,
    person bigint not null references core.person on delete cascade,
    name text not null,
    sha256 bytea not null unique,
    scopes text[],
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index token_person_idx on core.token (person);

create table core.audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    person bigint,
    actor text not null,
    via text not null,
    action text not null,
    subject text not null,
    detail jsonb not null,
    request_id text
);
create index audit_at_idx on core.audit (at);
-- What was written down stays. An external server may have no such role.
do $$
begin
    if exists (select from pg_roles where rolname = 'heartwood_work') then
        revoke update, delete, truncate on core.audit from heartwood_work;
    end if;
end
$$;

create table core.idempotency (
    person bigint not null,
    route text not null,
    key text not null,
    body_sha256 bytea not null,
    status integer,
    headers jsonb,
    answer bytea,
    created_at timestamptz not null default now(),
    primary key (person, route, key)
);
create index idempotency_created_at_idx on core.idempotency (created_at);

create table core.subscription (
    event text not null,
    plugin text not null,
    handler text not null,
    seen_at timestamptz not null default now(),
    primary key (event, plugin, handler)
);
"""


def upgrade() -> None:
    op.run_script(CORE)  # type: ignore[attr-defined]  # the hub adds it to Alembic
    op.run_script(Path(__file__).parents[1].joinpath("pgqueuer_1_6.sql").read_text())  # type: ignore[attr-defined]  # same
