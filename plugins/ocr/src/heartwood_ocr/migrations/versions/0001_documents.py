"""Documents and their pages, searchable in German and English."""

from __future__ import annotations

from alembic import op

revision = "ocr_0001"
down_revision = None

SCRIPT = """
create table ocr.document (
    id uuid primary key default gen_random_uuid(),
    owner bigint not null references core.person,
    name text not null,
    sha256 text not null,
    size bigint not null,
    media_type text not null,
    status text not null,
    problem text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,
    words tsvector not null generated always as
        (to_tsvector('simple', regexp_replace(name, '[^[:alnum:]]+', ' ', 'g'))) stored,
    constraint document_owner_sha256_key unique (owner, sha256)
);
create index document_owner_created_at_id_idx on ocr.document (owner, created_at, id);
create index document_status_idx on ocr.document (status);
create index document_words_idx on ocr.document using gin (words);

create table ocr.page (
    document uuid not null references ocr.document on delete cascade,
    number integer not null,
    source text not null,
    confidence real,
    text text not null,
    words tsvector not null generated always as (
        to_tsvector('simple', left(text, 100000)) || to_tsvector('english', left(text, 100000))
        || to_tsvector('german', left(text, 100000))
    ) stored,
    primary key (document, number)
);
create index page_words_idx on ocr.page using gin (words);
"""


def upgrade() -> None:
    op.run_script(SCRIPT)  # type: ignore[attr-defined]  # the kernel's directive; Alembic adds it to `op` at run time
