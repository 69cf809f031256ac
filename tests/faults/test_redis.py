"""Redis killed: nothing but slower."""

from __future__ import annotations

import time

from aiohttp import ClientSession

REMEMBER, HEARD = "/business/steps/remember", "/business/steps/heard"


async def test_redis_is_killed(make_hub, dsn, redis, wait, form):
    """Cache and signals lose it: every answer is 200 within a second, and one line each way says so."""
    await redis.start()
    hub = make_hub(dsn, **{"data.redis_url": '{env = "REDIS_HERE"}'})
    here = {"REDIS_HERE": redis.url}
    one = await hub.start("serve", "--no-jobs", environment=here).ready()
    other_url = {"web.listen": '["127.0.0.1:0"]', "observe.live_listen": '""'}
    two = await hub.start("serve", "--no-jobs", environment=here, **other_url).ready()
    (address,) = next(line["addresses"] for line in two.lines if line["event"] == "hub.ready")
    async with hub.client() as client:
        second = ClientSession(address, headers=client.headers)
        assert "" == (await _say(client, "a"))[0]
        assert "a" == (await _say(second, "b"))[0]  # the cache is shared
        await wait(lambda: _heard(client, second, "c"), within=5, what="a signal through Redis")

        redis.kill()
        times = []
        for number in range(500 if form.long else 40):
            before, seconds = await _say(client, str(number))
            assert "" == before
            times.append(seconds)
        assert max(times) <= 1.0
        await wait(lambda: _heard(client, second, "d"), within=10, what="a signal without Redis")
        async with client.get("/-/ready") as answer:
            assert 200 == answer.status

        await redis.start()
        await wait(lambda: _remembers(client), within=10, what="the cache's return")
        await wait(lambda: "signals.redis_up" in one.events(), within=10, what="the signals' return")
        await second.close()
    for process in (one, two):
        said = process.events("warning", "error")
        assert len(said) == len(set(said))
        await process.stop()
    assert ["cache.redis_lost", "signals.redis_down", "signals.redis_up"] == sorted(one.events("warning", "error"))
    assert 1 == one.events().count("cache.redis_back")


async def _say(client: ClientSession, value: str) -> tuple[str, float]:
    started = time.monotonic()
    async with client.get(REMEMBER, params={"value": value}) as answer:
        assert 200 == answer.status, await answer.text()
        return await answer.json(), time.monotonic() - started


async def _heard(speaker: ClientSession, listener: ClientSession, value: str) -> bool:
    await _say(speaker, value)
    async with listener.get(HEARD) as answer:
        return value in await answer.json()


async def _remembers(client: ClientSession) -> bool:
    await _say(client, "back")
    return "back" == (await _say(client, "back"))[0]
