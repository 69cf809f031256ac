"""Starting together on an empty database; upgrading without a plugin that was there before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SHELF = Path(__file__).parent / "parts" / "shelf"


async def test_four_servers_at_once_migrate_once(make_hub, dsn, wait):
    """On an empty database each revision is applied by one of them, and all four are ready."""
    hubs = [make_hub(dsn, plugins=("ocr", "steps")) for _ in range(4)]
    processes = [hub.start("serve") for hub in hubs]
    for process in processes:
        await process.ready()
    applied = [
        (line["plugin"], revision)
        for process in processes
        for line in process.lines
        if line["event"] == "migrations.applied"
        for revision in line["revisions"]
    ]
    assert len(applied) == len(set(applied))
    assert {"core", "ocr", "steps"} == {plugin for plugin, _ in applied}
    for hub, process in zip(hubs, processes, strict=True):
        async with hub.client() as client, client.get("/-/ready") as answer:
            assert 200 == answer.status
        assert not process.events("warning", "error")
        await process.stop()
    assert {"up to date"} == {line.split("\t")[-1] for line in hubs[0].run("db", "status").stdout.splitlines()}


async def test_a_start_waits_for_its_database(make_hub, make_postgres, wait):
    """Where both start together the hub waits for an external server, says so once, and is ready when it is."""
    external = await make_postgres(18)
    hub = make_hub(await external.database(), plugins=(), **{"data.acquire_timeout": "20"})
    external.stop()
    process = hub.start("serve", "--no-jobs")
    await wait(lambda: "database.awaited" in process.events("warning"), within=20, what="the waiting")

    await external.start()
    await process.ready()

    assert ["database.awaited"] == process.events("warning", "error")
    await process.stop()


async def test_removed_plugins_leave_orphans(make_hub, dsn, tmp_path):
    """A wheel uninstalled, a file deleted: the upgrade stays green, their tables are listed, the hub serves on."""
    hub, site = make_hub(dsn, plugins=("shelf", "steps")), tmp_path / "site"
    here = {"PYTHONPATH": str(site)}
    _uv("install", "--offline", "--no-deps", "--target", site, _wheel(tmp_path))
    done = hub.run("db", "upgrade", environment=here)
    assert (0, True, True) == (done.returncode, "shelf: shelf_0001 up" in done.stdout, "steps: 0001 up" in done.stdout)
    assert "" == hub.run("db", "orphans", environment=here).stdout

    _uv("uninstall", "--target", site, "heartwood-hub-shelf")
    (hub.folder / "plugins" / "steps.py").unlink()

    done = hub.run("db", "upgrade", environment=here)
    assert (0, "core: up to date\n") == (done.returncode, done.stdout), done.stderr
    listed = hub.run("db", "orphans", environment=here).stdout.splitlines()
    way_out = "plugin not installed; to drop its data, type: heartwood plugin purge"
    assert [f"{name}: {way_out} {name}" for name in ("shelf", "steps")] == listed
    assert [(0, 0)] == await hub.rows("select (select count(*) from shelf.book), (select count(*) from steps.result)")
    server = await hub.start("serve", "--no-jobs", environment=here).ready()
    async with hub.client() as client, client.get("/business/plugins") as answer:
        states = {each["name"]: each["state"] for each in (await answer.json())["plugins"]}
    assert ("missing", "missing") == (states["shelf"], states["steps"])
    await server.stop()


def _uv(*arguments: object) -> None:
    uv = shutil.which("uv") or Path(__file__).parents[2] / ".tools" / "bin" / "uv"
    if not Path(uv).exists():
        pytest.skip("no uv on this machine")
    subprocess.run([uv, "pip", arguments[0], "-q", "--python", sys.executable, *arguments[1:]], check=True)


def _wheel(folder: Path) -> Path:
    """Pack the wheel of the plugin ``shelf``: its files, its metadata, and a RECORD, which needs no hashes."""
    wheel, info = folder / "heartwood_hub_shelf-1.0-py3-none-any.whl", "heartwood_hub_shelf-1.0.dist-info"
    files = {str(path.relative_to(SHELF.parent)): path.read_text() for path in sorted(SHELF.rglob("*.py"))}
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: heartwood-hub-shelf\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "[heartwood.plugins]\nshelf = shelf:Shelf\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel
