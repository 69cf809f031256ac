"""The conformance test: what every plugin owes the hub, checked in three lines of an author's test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from heartwood.data.migrations import check
from heartwood.plugins.records import State
from heartwood.testing.database import fresh_database
from heartwood.testing.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heartwood.plugins.plugin import Plugin

PROBE = """
import sys
import heartwood.api, heartwood.contracts
def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    cached = event == "open" and "__pycache__" in str(arguments[0])
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.system") or (writes and not cached):
        raise RuntimeError(f"{event} {arguments[0]!r} at import")
sys.addaudithook(refuse)
sys.path[:0] = sys.argv[2:]
__import__(sys.argv[1])
"""


def conformance(plugin: type[Plugin], *, config: Mapping[str, Any] | None = None) -> None:
    """Check that ``plugin`` is a good guest; raises ``AssertionError`` with a sentence where it is not.

    It imports without I/O, describes its settings, brings its tables onto an empty database and matches them, has
    typed routes with permissions, and starts and stops without leaving a task, a socket or a child behind.

    Args:
        plugin: the class that the entry point names.
        config: its settings, where it cannot do without.
    """
    _imports_quietly(plugin)
    _describes_settings(plugin)
    with fresh_database() as url:  # starts the server of the tests before children are counted
        asyncio.run(_lives_and_leaves(plugin, config, url))


def _imports_quietly(plugin: type[Plugin]) -> None:
    """Import its module in a process of its own that refuses network, programs and writing."""
    if plugin.__module__ in ("__main__", "builtins"):
        return
    folders = [folder for folder in sys.path if folder]
    found = subprocess.run(
        [sys.executable, "-c", PROBE, plugin.__module__, *folders], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, f"importing {plugin.__module__} did more than import:\n{found.stderr}"


def _describes_settings(plugin: type[Plugin]) -> None:
    if plugin.config is None:
        return
    assert attrs.has(plugin.config), f"{plugin.name}: `config` is {plugin.config!r}; it must be an attrs class"
    assert plugin.config.__doc__, f"{plugin.name}: {plugin.config.__name__} has no docstring"
    for field in attrs.fields(plugin.config):
        assert field.metadata.get("help"), f"{plugin.name}: the setting {field.name!r} has no help; use setting(help=…)"


async def _lives_and_leaves(plugin: type[Plugin], config: Mapping[str, Any] | None, database: str) -> None:
    children, sockets = _children(), _sockets()
    settings = {"plugins": {plugin.name: {"config": dict(config or {})}}}
    async with running_hub(plugins=[plugin], config=settings, strict=True, database=database) as hub:
        record = hub.kernel.by_name[plugin.name]
        assert record.state is State.RUNNING, f"{plugin.name} is {record.label}: {record.reason}"
        assert not record.unmatched_hooks, f"{plugin.name}: nobody specified {', '.join(record.unmatched_hooks)}"
        await _matches_tables(plugin, hub.kernel)
        for path in hub.kernel.openapi()["paths"].values():
            for operation in path.values():
                assert "x-permission" in operation, f"{operation.get('operationId')} has no permission"
    errors = [f"{each.where}: {each.message}" for each in record.failures]
    assert not errors, f"{plugin.name} made errors: {'; '.join(errors)}"
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"{plugin.name} left tasks behind: {', '.join(left)}"
    assert _children() <= children, f"{plugin.name} left child processes behind: {_children() - children}"
    assert _sockets() <= sockets, f"{plugin.name} left {_sockets() - sockets} sockets open"


async def _matches_tables(plugin: type[Plugin], kernel: Any) -> None:
    url = kernel.settings.data.external_url()
    sources = [each for each in kernel.migration_sources() if each.plugin in ("core", plugin.name)]
    found = (await check(url, sources)).get(plugin.name, [])
    assert not found, f"{plugin.name}: {'; '.join(found)}"


def _children() -> set[int]:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    listed = (task / "children" for task in tasks.iterdir())
    return {int(pid) for file in listed if file.is_file() for pid in file.read_text().split()}


def _sockets() -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return 0
    count = 0
    for number in folder.iterdir():
        try:
            count += os.readlink(number).startswith("socket:")  # noqa: PTH115  (a descriptor is no path)
        except OSError:
            continue
    return count
