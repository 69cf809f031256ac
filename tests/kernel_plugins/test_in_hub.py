"""What plugins do to a whole hub, and what they do not."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from heartwood.api import (
    Job,
    Jobs,
    Permission,
    Plugin,
    PluginContext,
    Route,
    Tables,
    Task,
    Transaction,
    hookimpl,
    hookspec,
)


class Mortal(Plugin):
    """Its lifespan ends once it is told to, with a job and a task under way."""

    name = "mortal"

    def __init__(self):
        self.die = asyncio.Event()
        self.turns = 0

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.end())
            yield

    async def end(self):
        await self.die.wait()
        msg = "dead"
        raise ValueError(msg)

    @hookimpl
    def jobs(self):
        return [Job("ring", self.ring)]

    @hookimpl
    def tasks(self):
        return [Task("swing", self.swing, every=0.01)]

    async def ring(self) -> None:
        self.turns += 1

    async def swing(self) -> None:
        self.turns += 1


class Heir(Plugin):
    """It cannot run without the other."""

    name = "heir"
    requires = ("mortal",)


class Other(Plugin):
    """It goes on, and enqueues jobs of both."""

    name = "other"

    def __init__(self):
        self.rung = asyncio.Event()

    @hookimpl
    def permissions(self):
        return [Permission("other.ring", "Ring.")]

    @hookimpl
    def routes(self):
        return [Route("POST", "/ring", self.ring_both, "other.ring")]

    @hookimpl
    def jobs(self):
        return [Job("ring", self.ring)]

    async def ring_both(self, tx: Transaction, jobs: Jobs) -> None:
        await jobs.enqueue(tx, "mortal.ring")
        await jobs.enqueue(tx, "ring")

    async def ring(self) -> None:
        self.rung.set()


class Nowhere(Plugin):
    """Its migrations are in a package without a name."""

    name = "nowhere"

    @hookimpl
    def tables(self):
        return Tables("nowhere.tables:metadata", "")


async def test_nothing_of_a_plugin_that_has_failed_goes_on(hub_factory, eventually):
    """Its task stops, its jobs stay queued and unpicked, its dependents are skipped, and everything else serves."""
    hub = await hub_factory(plugins=[Mortal, Heir, Other, Nowhere])
    records = hub.kernel.by_name
    mortal, other = records["mortal"].plugin, records["other"].plugin
    await eventually(lambda: mortal.turns)
    assert ("running", "running", "failed(migrate)") == tuple(
        records[name].label for name in ("mortal", "heir", "nowhere")
    )
    assert records["nowhere"].reason.startswith("ValueError: ")

    mortal.die.set()
    await eventually(lambda: not any(each.get_name() == "mortal.swing" for each in asyncio.all_tasks()))
    turns = mortal.turns
    async with hub.client.post("/business/other/ring") as answer:
        assert 204 == answer.status
    await asyncio.wait_for(other.rung.wait(), 10)
    async with hub.client.get("/business/jobs?plugin=mortal") as answer:
        (job,) = (await answer.json())["items"]
    async with hub.client.get("/business/heir") as answer:
        assert 503 == answer.status

    assert ("queued", 0) == (job["state"], job["attempts"])
    assert turns == mortal.turns
    assert ("failed(run)", "skipped(needs mortal, which is failed(run))", "running") == tuple(
        records[name].label for name in ("mortal", "heir", "other")
    )


async def test_nobody_takes_the_place_of_the_kernel(hub_factory, package, tmp_path, monkeypatch):
    """A plugin called ``core`` is ignored and named in the log, and a root in front of the API is not given away."""
    points = {
        "heartwood.plugins": {"wall": "w:W", "asleep": "a:A"},
        "heartwood.roots": {"board": "w:W"},
        "heartwood.prefixes": {"a{": "a:A"},
    }
    package("wall", points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "core.py").write_text("raise SystemExit('imported')\n")
    config = {
        "web": {"api_root": "/board/api"},
        "loader": {"plugins_dir": str(tmp_path / "plugins")},
        "plugins": {"core": {}, "wall": {}},
    }

    hub = await hub_factory(discover=True, config=config)
    async with hub.client.get("/board/api/plugins") as answer:
        reports = {each["name"]: each for each in (await answer.json())["plugins"]}
    async with hub.client.get("/board/nothing") as answer:
        assert 404 == answer.status
    ignored = [line for line in map(json.loads, hub.log.getvalue().splitlines()) if line["event"] == "plugin.ignored"]

    assert "running" == reports["core"]["label"]
    assert "the root 'board' of plugin 'wall' belongs to the API (web.api_root)" == reports["wall"]["reason"]
    assert "disabled" == reports["asleep"]["label"]
    assert ["core"] == [line["plugin"] for line in ignored]


class FrameHooks:
    """What the wall asks others."""

    @hookspec
    def pictures(self, ctx: PluginContext) -> list[str]:
        """Return names of pictures."""


class Wall(Plugin):
    """It mounts a route for each picture that another plugin gives."""

    name = "wall"

    @hookimpl
    def hookspecs(self):
        return [FrameHooks]

    @hookimpl
    def permissions(self):
        return [Permission("wall.look", "Look.")]

    @hookimpl
    def routes(self, ctx):
        return [
            Route("GET", f"/{picture}", self.look, "wall.look", name=picture, owner=each.plugin)
            for each in ctx.contributions("pictures")
            for picture in each.value
        ]

    async def look(self) -> str:
        return "a picture"


class Painter(Plugin):
    """It gives two pictures."""

    name = "painter"

    @hookimpl(optionalhook=True)
    def pictures(self):
        return ["sea", "sky"]


async def test_a_plugin_asks_others_while_it_is_asked_for_its_routes(hub_factory):
    """A route may be made from what another plugin contributes, and is that plugin's."""
    hub = await hub_factory(plugins=[Wall, Painter])

    async with hub.client.get("/business/wall/sky") as answer:
        assert (200, "a picture") == (answer.status, await answer.json())
