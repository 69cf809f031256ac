"""All SQL of background work. Tables and names are PgQueuer's (schema ``queue``), with the columns of ``0002_work``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from heartwood.contracts.data import Queries

CHANNEL = "ch_pgqueuer"
"""Where PgQueuer tells its workers that the queue has changed."""

_ANNOUNCE = f"""pg_notify('{CHANNEL}', json_build_object('channel', '{CHANNEL}', 'operation', 'update',
    'sent_at', now(), 'table', 'pgqueuer', 'type', 'table_changed_event')::text)"""
"""PgQueuer's own trigger is silent about updates, so what becomes queued again is announced by who did it."""

_WAITS = "(status = any (array['queued'::queue.pgqueuer_status, 'picked'::queue.pgqueuer_status]))"
_ONCE = f"on conflict (dedupe_key) where ({_WAITS} and (dedupe_key is not null)) do nothing"

ENQUEUE = f"""
insert into queue.pgqueuer (entrypoint, payload, priority, execute_after, dedupe_key, headers, status)
values ($1, $2, $3, now() + $4::interval, $5, $6::jsonb, 'queued')
{_ONCE} returning id
"""  # noqa: S608  (constants)

PUBLISH = """
insert into queue.pgqueuer (entrypoint, payload, priority, headers, status)
select plugin || '.' || handler || '@' || event, $2, 0, $3::jsonb, 'queued' from core.subscription where event = $1
"""

SUBSCRIBE = """
insert into core.subscription (event, plugin, handler)
select event, $1, handler from unnest($2::text[], $3::text[]) as wish(event, handler)
on conflict (event, plugin, handler) do update set seen_at = now()
"""
UNSUBSCRIBE = """
delete from core.subscription
where plugin = $1 and (event, handler) not in (select * from unnest($2::text[], $3::text[]))
"""

FENCE = "select true from queue.pgqueuer where id = $1 and fence = $2 and status = 'picked' for key share"
"""Asked right before a commit: nobody can resume or cancel the job until then. A sign of life is let through."""

SETTLE = """
with gone as (
    delete from queue.pgqueuer where id = $1 and fence = $2 and status = 'picked' returning *
)
insert into queue.pgqueuer_log (job_id, status, entrypoint, priority, attempt, headers, enqueued)
select id, 'successful', entrypoint, priority, attempts, headers, created from gone returning true
"""

OUTCOMES = f"""
with outcome as (
    select * from unnest($1::bigint[], $2::int[], $3::text[], $4::interval[], $5::text[], $6::jsonb[])
        as o(id, fence, verdict, delay, reason, trace)
), mine as (
    select o.*, q.entrypoint, q.priority, q.headers, q.created,
           greatest(q.attempts - case when o.verdict in ('returned', 'killed') then 1 else 0 end, 0) as counted,
           (case o.verdict when 'done' then 'successful' when 'dead' then 'failed' when 'killed' then 'failed'
            else 'queued' end)::queue.pgqueuer_status as becomes
    from outcome o join queue.pgqueuer q on q.id = o.id and q.fence = o.fence
    where q.status = 'picked' order by q.id for update of q
), gone as (
    delete from queue.pgqueuer q using mine where q.id = mine.id and mine.verdict = 'done'
), kept as (
    update queue.pgqueuer q
    set status = mine.becomes, execute_after = now() + mine.delay, attempts = mine.counted, reason = mine.reason,
        queue_manager_id = null, slot = null, updated = now()
    from mine where q.id = mine.id and mine.verdict <> 'done' returning q.status
), taken as (
    update queue.pgqueuer q set attempts = greatest(q.attempts - 1, 0), crashes = greatest(q.crashes - 1, 0)
    from outcome o where q.id = o.id and q.fence > o.fence
), logged as (
    insert into queue.pgqueuer_log
        (job_id, status, entrypoint, priority, traceback, attempt, reason, headers, enqueued)
    select id, becomes, entrypoint, priority, trace, counted, reason, headers, created from mine
)
select {_ANNOUNCE} from kept where status = 'queued' limit 1
"""  # noqa: S608  (constants)
"""How attempts ended, many at once. One whose fence has moved on was taken from a living process: it does not count."""

NEXT = """
select min(first.execute_after) - now() as due from unnest($1::text[]) as kind(entrypoint) cross join lateral (
    select execute_after from queue.pgqueuer q where q.entrypoint = kind.entrypoint and q.status = 'queued'
    order by execute_after limit 1) first
"""
"""When the first of the waiting jobs is due, by one step of the index for each kind; PgQueuer's own reads all rows."""

BEAT = """
with beat as (
    update queue.pgqueuer q set heartbeat = now()
    from (
        select id from queue.pgqueuer where id = any($1::bigint[]) and queue_manager_id = $2 and status = 'picked'
        order by id for no key update skip locked
    ) mine where q.id = mine.id
)
select held.id from unnest($1::bigint[]) as held(id) where not exists (
    select from queue.pgqueuer q where q.id = held.id and q.queue_manager_id = $2 and q.status = 'picked')
"""
"""Signs of life; returns the jobs that are not ours any more. A row that ends with a commit needs none."""

GIVE_BACK = f"""
with mine as (
    update queue.pgqueuer set status = 'queued', attempts = greatest(attempts - 1, 0), reason = $2,
        queue_manager_id = null, slot = null, updated = now()
    where queue_manager_id = $1 and status = 'picked' returning *
), logged as (
    insert into queue.pgqueuer_log (job_id, status, entrypoint, priority, attempt, reason, headers, enqueued)
    select id, 'queued', entrypoint, priority, attempts, reason, headers, created from mine
)
select {_ANNOUNCE} from mine limit 1
"""  # noqa: S608  (constants)

PLAN = """
insert into queue.pgqueuer_schedules as old (entrypoint, expression, next_run)
select * from unnest($1::text[], $2::text[], $3::timestamptz[])
on conflict (expression, entrypoint) do update set next_run = excluded.next_run, updated = now()
where old.next_run > now() and excluded.next_run > now()
"""
"""A run that is overdue stays overdue: it is the missed one that is made up."""
UNPLAN = """
delete from queue.pgqueuer_schedules
where split_part(entrypoint, '.', 1) = any($1::text[])
    and (entrypoint, expression) not in (select * from unnest($2::text[], $3::text[]))
"""
FIRE = f"""
with due as (
    update queue.pgqueuer_schedules s set next_run = plan.next_run, last_run = now(), updated = now()
    from unnest($1::text[], $2::text[], $3::timestamptz[]) as plan(entrypoint, expression, next_run)
    where s.entrypoint = plan.entrypoint and s.expression = plan.expression and s.next_run <= now()
    returning s.entrypoint
)
insert into queue.pgqueuer (entrypoint, priority, dedupe_key, status)
select entrypoint, 0, 'cron:' || entrypoint, 'queued' from due
{_ONCE}
"""  # noqa: S608  (constants)
"""Schedule and job move in one statement, so a schedule fires once, whoever asks and whatever dies."""

AT_ONCE = 20_000
"""Rows that one statement forgets: it must end within ``data.statement_timeout`` on a slow disk."""

COUNTS = "select entrypoint, status::text as status, count(*) as number from queue.pgqueuer group by 1, 2"

PURGE = """
with log as (
    delete from queue.pgqueuer_log where id in (
        select id from queue.pgqueuer_log where created < now() - $1::interval limit $2) returning 1
), statistics as (
    delete from queue.pgqueuer_statistics where created < now() - $1::interval
)
select count(*) from log
"""

_INFO = """
select id, entrypoint, status::text as status, attempts,
    case when status = 'queued' and entrypoint like '%@%' and not exists (
        select from core.subscription s where s.plugin || '.' || s.handler || '@' || s.event = entrypoint
        union all select from queue.pgqueuer_schedules p where p.entrypoint = job.entrypoint
    ) then 'no plugin has this subscriber or schedule any more: cancel it' else reason end as reason,
    created, updated, headers
from queue.pgqueuer job
"""
_ENDED = """
select log.job_id, log.entrypoint, log.status::text, log.attempt, log.reason, log.enqueued, log.created, log.headers
from queue.pgqueuer_log log where log.status in ('successful', 'canceled')
"""

LIST = f"""
(
    {_INFO} where ($1::bigint is null or id < $1) and status::text = any($2::text[])
        and ($3::text is null or split_part(entrypoint, '.', 1) = $3)
    order by id desc limit $4
) union all (
    {_ENDED} and ($1::bigint is null or log.job_id < $1) and log.status::text = any($2::text[])
        and ($3::text is null or split_part(log.entrypoint, '.', 1) = $3)
    order by log.job_id desc limit $4
) order by id desc limit $4
"""
SHOW = f"{_INFO} where id = $1 union all {_ENDED} and log.job_id = $1"
HISTORY = """
select status::text as status, created, attempt, reason, traceback from queue.pgqueuer_log
where job_id = $1 order by id
"""

RETRY = f"""
with again as (
    update queue.pgqueuer set status = 'queued', execute_after = now(), attempts = 0, crashes = 0, updated = now()
    where id = $1 and status = 'failed' returning id, entrypoint, priority
), logged as (
    insert into queue.pgqueuer_log (job_id, status, entrypoint, priority, reason)
    select id, 'queued', entrypoint, priority, $2 from again
)
select {_ANNOUNCE} is not null from again
"""  # noqa: S608  (constants)
CANCEL = """
with gone as (
    delete from queue.pgqueuer where id = $1 returning *
), logged as (
    insert into queue.pgqueuer_log (job_id, status, entrypoint, priority, attempt, reason, headers, enqueued)
    select id, 'canceled', entrypoint, priority, attempts, $2, headers, created from gone
)
select status::text from gone
"""
STOP = f"""
select pg_notify('{CHANNEL}', json_build_object('channel', '{CHANNEL}', 'ids', json_build_array($1::bigint),
    'sent_at', now(), 'type', 'cancellation_event')::text)
"""
TELL = "select pg_notify($1, $2)"


async def counts(queries: Queries) -> dict[tuple[str, str], int]:
    """Return how many jobs stand in the queue, by name and PgQueuer's state."""
    return {(row["entrypoint"], row["status"]): row["number"] for row in await queries.fetch(COUNTS)}


async def purge(queries: Queries, keep: timedelta) -> int:
    """Forget ended jobs and attempts older than ``keep``, in short steps; return how many log rows that were."""
    purged = 0
    while some := int(await queries.fetchval(PURGE, keep, AT_ONCE)):
        purged += some
    return purged


async def record(queries: Queries, plugin: str, wishes: Sequence[tuple[str, str]]) -> None:
    """Make (event, handler) pairs the whole of what ``plugin`` is told of."""
    events, handlers = [event for event, _ in wishes], [handler for _, handler in wishes]
    await queries.execute(UNSUBSCRIBE, plugin, events, handlers)
    await queries.execute(SUBSCRIBE, plugin, events, handlers)
