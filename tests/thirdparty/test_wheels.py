"""Packages of outside authors, from their wheels: built, installed beside the kernel's wheel, tested, and served."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = {
    "heartwood_hub": ROOT / "core",
    "heartwood_hub_metrics": ROOT / "plugins" / "metrics",
    "bookmarks_contracts": HERE / "bookmarks-contracts",
    "heartwood_bookmarks": HERE / "bookmarks",
    "heartwood_digest": HERE / "digest",
}
INSIDE = {
    "heartwood_hub": [
        "heartwood/py.typed",
        "heartwood/migrations/pgqueuer_1_6.sql",
        "heartwood/migrations/versions/0001_core.py",
        "heartwood/migrations/versions/published.sha256",
        "heartwood/template/pyproject.toml.tmpl",
    ],
    "heartwood_hub_metrics": ["heartwood_metrics/py.typed"],
    "bookmarks_contracts": ["bookmarks_contracts/py.typed"],
    "heartwood_bookmarks": [
        "heartwood_bookmarks/py.typed",
        "heartwood_bookmarks/sql/page.sql",
        "heartwood_bookmarks/templates/link.html",
        "heartwood_bookmarks/migrations/versions/0001_link.py",
    ],
    "heartwood_digest": ["heartwood_digest/py.typed", "heartwood_digest/sql/0001.sql"],
}


@pytest.fixture(scope="module", name="wheels")
def _wheels(tmp_path_factory):
    """Build every package, offline; returns the wheels by the names of their packages."""
    folder = tmp_path_factory.mktemp("wheels")

    def build(source):
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, PACKAGES.values()))
    return {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}


@pytest.fixture(scope="module", name="site")
def _site(wheels, tmp_path_factory):
    """Make an environment that has the wheels, and all else from this one; what is editable here is not there."""
    folder = tmp_path_factory.mktemp("site")
    venv.create(folder, with_pip=False, symlinks=True)
    uv = shutil.which("uv") or ROOT / ".tools" / "bin" / "uv"
    install = [uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", folder / "bin" / "python"]
    subprocess.run([*install, *wheels.values()], check=True)
    libraries = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_has_all_of_its_package(wheels, name):
    """Types, SQL, templates and revisions are in the wheel; tests are not."""
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = wheel.namelist()

    assert [] == [each for each in INSIDE[name] if each not in names]
    assert [] == [each for each in names if Path(each).match("test_*.py") or each.endswith(".pyc")]


@pytest.mark.parametrize("name", ["bookmarks", "digest"])
def test_their_own_tests_pass(site, name):
    """An outside author's tests, the conformance test among them, pass against the wheels."""
    command = [site / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", HERE / name]
    done = subprocess.run(
        [*command, "-c", HERE / name / "pyproject.toml", HERE / name / "tests"],
        cwd=site,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def _environment():
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHONPATH", "COV"))}


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def _serving(site, dsn, folder):
    """Run ``heartwood serve`` of the wheels; yields its address and that of its exporter, and how to run a command."""
    port, exporter = _free_port(), _free_port()
    config = folder / "plugins.toml"
    config.write_text(
        f'[web]\nlisten = ["127.0.0.1:{port}"]\n[observe]\nlive_listen = ""\n[data]\nauto_migrate = true\n'
        f'[plugins.bookmarks]\n[plugins.digest]\n[plugins.metrics.config]\nlisten = "127.0.0.1:{exporter}"\n'
    )
    command = [site / "bin" / "heartwood", "--config", config, "--data", folder / "data"]
    environment = _environment() | {"DATABASE_URL": dsn, "XDG_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, "serve"], env=environment, stderr=log, stdout=log)

    def run(*words):
        return subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=True).stdout

    try:
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{exporter}/metrics", run
    finally:
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(30), (folder / "log").read_text()


async def test_a_hub_serves_them(site, dsn, tmp_path, eventually):
    """A hub made of wheels answers their routes, runs their jobs, has their tables and exports their metrics."""
    with _serving(site, dsn, tmp_path) as (url, exporter, run):
        async with aiohttp.ClientSession() as stranger:

            async def healthy():
                try:
                    async with stranger.get(f"{url}/business/health") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(healthy, within=30)
            async with stranger.get(exporter) as answer:
                assert "heartwood_bookmarks_saved_total 0.0" in await answer.text()
        token = (tmp_path / "data" / "local-token").read_text().strip()
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as client:
            async with client.get("/business/plugins") as answer:
                states = {each["name"]: (each["label"], each["version"]) for each in (await answer.json())["plugins"]}
            assert ("running", "2.1.0") == states["bookmarks"]
            assert ("running", "0.3.0") == states["digest"]
            async with client.post("/business/links", json={"url": "https://example.org", "title": "Soup"}) as answer:
                assert 201 == answer.status, await answer.text()

            async def digest():
                async with client.get("/business/digest") as answer:
                    return await answer.json()

            async def counted():
                return (await digest())["counts"]

            assert {"cooking": 1} == await eventually(counted, within=15)
            assert ["Soup"] == (await digest())["newest"]
            async with client.get(exporter) as answer:
                assert "heartwood_bookmarks_saved_total 1.0" in await answer.text()
        printed = await asyncio.to_thread(run, "links")
        assert "Soup\thttps://example.org\tcooking\n" == printed
    connection = await asyncpg.connect(dsn)
    assert [["cooking"]] == [row["labels"] for row in await connection.fetch("select labels from bookmarks.link")]
    await connection.close()


def test_the_kernel_is_that_of_the_wheel(site):
    """The environment has the kernel from its wheel, and no plugin that is editable here can be imported."""
    program = "import heartwood, importlib.util as u; print(heartwood.__file__); print(u.find_spec('heartwood_ocr'))"
    command = [site / "bin" / "python", "-c", program]
    printed = subprocess.run(command, cwd=site, env=_environment(), capture_output=True, text=True, check=True).stdout

    assert printed.splitlines()[0].startswith(str(site))
    assert "None" == printed.splitlines()[1]


def test_they_are_typed():
    """The packages pass mypy in its strict mode: the public face has the types that authors need."""
    sources = [source / "src" for name, source in PACKAGES.items() if source.parent == HERE]
    environment = _environment() | {"MYPYPATH": os.pathsep.join(map(str, sources))}
    command = [sys.executable, "-m", "mypy", "--strict", *sources]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout
