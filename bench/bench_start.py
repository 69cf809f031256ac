"""How quickly a hub starts, and what it weighs."""

from __future__ import annotations

import subprocess
import sys
import time

from workplace import ENVIRON, HEARTWOOD, Figure, Workplace, at_most, median, spread

IMPORT = "import time; t = time.perf_counter(); import heartwood.kernel; print(time.perf_counter() - t)"


def measure(place: Workplace) -> list[Figure]:
    """Return the seconds of the help, of the kernel's imports and of a start, and the memory after 60 s."""
    runs = 1 if place.short else 9
    helps = [_seconds([str(HEARTWOOD), "--help"]) for _ in range(runs + 1)][1:]
    imports = [float(_out([sys.executable, "-c", IMPORT])) for _ in range(runs + 1)][1:]
    place.prepare()
    starts = []
    for _ in range(runs):
        with place.hub() as server:
            starts.append(server.ready_after)
    with place.hub() as server:
        time.sleep(0 if place.short else 60)
        weight = server.rss()
    return [
        at_most(0.25, "heartwood --help", median(helps), "s", spread(helps)),
        at_most(0.5, "import heartwood.kernel", median(imports), "s", spread(imports)),
        at_most(2.0, "start to ready (PostgreSQL stopped)", median(starts), "s", spread(starts)),
        at_most(90, "RSS of the server 60 s after ready", weight, "MB", "10^6 bytes, without children"),
    ]


def _seconds(argv: list[str]) -> float:
    started = time.perf_counter()
    _out(argv)
    return time.perf_counter() - started


def _out(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=ENVIRON).stdout
