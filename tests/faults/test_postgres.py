"""PostgreSQL killed, stopped and frozen under a hub that is at work."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import aiohttp
import pytest
from attrs import define, field

from heartwood.data.embedded.postmaster import find_postmaster

pytestmark = pytest.mark.slow

DOWN_AND_UP = ["database.down", "database.up"]


@pytest.mark.parametrize("server", ["embedded", 15, 18])
async def test_postgresql_is_killed_under_uploads(server, make_hub, make_postgres, wait, form):
    """Kill -9 of the postmaster: nothing acknowledged is lost, and the hub goes on without a hand."""
    if server == 18:  # the embedded one is an 18 too
        form.only_long()
    external = None if server == "embedded" else await make_postgres(server)
    hub = make_hub(await external.database() if external else "", plugins=("ocr",))
    process = await hub.start("serve", "--no-jobs").ready()
    book, kills = hub.ledger(), 15 if form.long else 1 if external else 2
    async with book.sending(16 if form.long else 6):
        for number in range(kills):
            await _goes_on(book, wait)
            await asyncio.sleep(form.chance.uniform(0.0, 0.5))
            if external:
                external.kill()
                await asyncio.sleep(form.chance.uniform(0.2, 0.5))
                await external.start()
            else:
                os.kill(find_postmaster(hub.cluster).pid, signal.SIGKILL)
            # the log has seen it go and come before it is killed again
            await wait(lambda: process.events().count("database.up") > number, within=30)  # noqa: B023  (awaited here)
        await _goes_on(book, wait)
    await book.check()
    said = [event for event in process.events("warning", "error") if event != "postgres.restarted"]
    assert DOWN_AND_UP * kills == said
    assert process.events().count("postgres.restarted") == (0 if external else kills)
    assert process.popen.poll() is None
    await process.stop()


async def _goes_on(book, wait) -> None:
    enough = len(book.acknowledged) + 20
    await wait(lambda: len(book.acknowledged) >= enough, within=10, what="20 more uploads")


@define
class Asked:
    """One answer of the hub, as a client saw it."""

    at: float
    seconds: float
    status: int
    what: str
    headers: dict = field(repr=False)


class Askers:
    """Clients that read, ask whether the hub is ready and alive, and write down each answer."""

    def __init__(self, hub) -> None:
        self.hub = hub
        self.answers: list[Asked] = []

    async def ask(self, client: aiohttp.ClientSession, path: str, pause: float = 0.05) -> None:
        while True:
            started = time.monotonic()
            async with client.get(path) as answer:
                await answer.read()
            seconds = time.monotonic() - started
            self.answers.append(Asked(started, seconds, answer.status, path, dict(answer.headers)))
            await asyncio.sleep(pause)

    def of(self, path: str, *, since: float = 0.0) -> list[Asked]:
        return [each for each in self.answers if each.what == path and each.at >= since]


DOCUMENTS, READY = "/business/documents", "/-/ready"


@pytest.mark.parametrize("case", [(15, "stopped"), (18, "stopped"), (18, "frozen")])
async def test_postgresql_is_away_for_a_while(case, make_hub, make_postgres, wait, form):
    """503 with Retry-After within seconds, then normal; one line says that it went, one that it is back."""
    major, fault = case
    if major == 18:
        form.only_long()
    away, slowest = (30.0 if form.long else 2.0), (8.0 if fault == "frozen" else 3.0)
    external = await make_postgres(major)
    hub = make_hub(await external.database(), plugins=("ocr", "steps"))
    process = await hub.start("serve", "--no-jobs").ready()
    worker = await hub.start("worker", **{"plugins.ocr.enabled": "false"}).ready()
    live = f"http://127.0.0.1:{hub.live}/-/live"
    askers, book = Askers(hub), hub.ledger(size=4096)
    async with hub.client() as client:
        asking = [asyncio.create_task(askers.ask(client, path)) for path in (DOCUMENTS, READY, live)]
        async with book.sending(1):
            await _goes_on(book, wait)
            gone = time.monotonic()
            if fault == "frozen":
                external.send(signal.SIGSTOP)
            else:
                external.stop()
            await asyncio.sleep(away)
            if fault == "frozen":
                external.send(signal.SIGCONT)
            else:
                await external.start()
            back = time.monotonic()
            await wait(lambda: _is_normal(askers, back), within=10, what="the return")
            await _goes_on(book, wait)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        job = await hub.order(client)
    await wait(lambda: hub.rows("select 1 from steps.result where job = $1", job), within=10, what="a job")

    assert {200, 503} == {each.status for each in askers.answers}
    assert {202, 503} >= {status for status, *_ in book.answers}
    refused = [each for each in askers.of(DOCUMENTS) if each.status == 503]
    headers = [each.headers for each in refused] + [head for status, _, head in book.answers if status == 503]
    assert refused
    assert all(head["Content-Type"] == "application/problem+json" and int(head["Retry-After"]) > 0 for head in headers)
    assert max(each.seconds for each in askers.answers) <= slowest
    assert max(seconds for _, seconds, _ in book.answers) <= slowest
    assert min(each.at for each in askers.of(READY) if each.status == 503) - gone <= 5.0
    assert {200} == {each.status for each in askers.of(live)}
    assert max(each.seconds for each in askers.of(live)) <= 1.0  # two cores are shared with whoever tests here
    await book.check()
    for each in (process, worker):
        assert DOWN_AND_UP == each.events("warning", "error"), each.lines
        await each.stop()


def _is_normal(askers: Askers, back: float) -> bool:
    return all([each.status for each in askers.of(path, since=back)][-3:] == [200] * 3 for path in (DOCUMENTS, READY))
