"""What a server has imported once it runs: nothing that only a migration, a command or a child needs."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request

LISTING = """
import asyncio
import sys

from heartwood.api import Job, Jobs, Permission, Plugin, Route, Transaction, hookimpl


class Listing(Plugin):
    def __init__(self):
        self.ran = asyncio.Event()

    @hookimpl
    def permissions(self):
        return [Permission("listing.read", "Read it.")]

    @hookimpl
    def jobs(self):
        return [Job("run", self.run)]

    @hookimpl
    def routes(self):
        return [
            Route("POST", "", self.begin, "listing.read"),
            Route("GET", "", self.modules, "listing.read"),
        ]

    async def begin(self, tx: Transaction, jobs: Jobs) -> None:
        await jobs.enqueue(tx, "run")

    async def run(self) -> None:
        self.ran.set()

    async def modules(self) -> list[str]:
        await self.ran.wait()
        return sorted(sys.modules)
"""
CONFIG = """
[loader]
plugins_dir = "plugins"

[plugins.listing]
[plugins.ocr]
[plugins.metrics]
config.listen = "127.0.0.1:0"
"""
OURS = {"heartwood", "heartwood_file_listing", "heartwood_metrics", "heartwood_ocr"}
NEEDED = {
    "aiohttp": {"aiodns", "aiohappyeyeballs", "aiosignal", "attr", "attrs", "backports", "brotli", "frozenlist", "idna"}
    | {"multidict", "propcache", "pycares", "yarl"},
    "asyncpg": set(),
    "cattrs": {"typing_extensions"},
    "click": set(),
    "obstore": set(),
    "orjson": set(),
    "packaging": set(),
    "pgqueuer": {"annotated_types", "anyio", "croniter", "dateutil", "pydantic", "pydantic_core", "six"}
    | {"dotenv", "pydantic_settings", "sniffio", "typing_inspection"},
    "pluggy": set(),
    "prometheus_async": {"wrapt"},
    "prometheus_client": set(),
    "structlog": {"greenlet", "pygments", "rich"},  # it imports these where they are installed
    "svcs": set(),
    "uvloop": set(),
}
"""The packages that a server is made of, each with those that it imports itself."""


def test_a_warm_start_imports_what_it_needs(machine_with_database):
    """With the migrations done, a server of all plugins that has run a job has these packages and no others."""
    machine = machine_with_database
    machine.configure(CONFIG)
    machine.plugin("listing", LISTING)
    with machine.serve() as hub:
        hub.stop(signal.SIGTERM)
    with machine.serve() as hub:
        token = (machine.folder / "data" / "local-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        for method in ("POST", "GET"):
            request = urllib.request.Request(f"{hub.url}/business/listing", method=method, headers=headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read()
    modules = json.loads(text)
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    expected = OURS | set(NEEDED).union(*NEEDED.values())

    assert OURS | set(NEEDED) <= packages
    assert set() == {name for name in packages - expected if not name.startswith(("_", "cython_runtime"))}
    assert "heartwood.testing" not in modules
