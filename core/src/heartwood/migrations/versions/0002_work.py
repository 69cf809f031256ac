"""What the queue needs beside PgQueuer: attempts counted at the pick, a fence, reasons, and what is known of ended jobs."""

from __future__ import annotations

from alembic import op

revision = "core_0002"
down_revision = "core_0001"

WORK = """
alter table queue.pgqueuer
    add column fence integer not null default 0,
    add column crashes integer not null default 0,
    add column reason text;

alter table queue.pgqueuer_log
    add column attempt integer,
    add column reason text,
    add column headers jsonb,
    add column enqueued timestamptz;

-- A trigger, so that no way of picking a job can forget to count. Heartbeats do not name the column status.
create function queue.fn_attempt_counted() returns trigger language plpgsql as $$
begin
    new.attempts := old.attempts + 1;
    new.fence := old.fence + 1;
    if old.status = 'picked' then
        new.crashes := old.crashes + 1;
    end if;
    return new;
end
$$;
create trigger tg_attempt_counted before update of status on queue.pgqueuer
    for each row when (new.status = 'picked') execute function queue.fn_attempt_counted();

-- Jobs that are not due yet are left out within the index, without a look at their rows.
create index pgqueuer_due_idx on queue.pgqueuer (entrypoint, priority desc, id, execute_after)
    where status = 'queued';
create index pgqueuer_log_ended_idx on queue.pgqueuer_log (job_id desc) where status in ('successful', 'canceled');

alter table queue.pgqueuer set (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);
"""


def upgrade() -> None:
    op.run_script(WORK)  # type: ignore[attr-defined]  # the hub adds it to Alembic
