"""A typed JSON route, against a bare aiohttp handler and against FastAPI; the same with one SELECT.

All servers stand side by side, and ``wrk`` asks one after the other in short turns, so that what else this machine does
hits all of them alike. A ratio is the median of the ratios of the turns.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from workplace import HERE, Figure, Server, Workplace, at_least, free_port, median, pinned, running, spread

ORDER = {
    "id": 17,
    "customer": "Ada Lovelace",
    "lines": [{"sku": f"A-{n}", "count": n, "price": 1.25 * n} for n in range(1, 4)],
    "note": "by the back door",
}
ITEM = {"name": "Foo", "description": "An optional description", "price": 45.2, "tax": 3.5}
SCRIPT = """
wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "{authorization}"
"""
CONNECTIONS = 32


@dataclass
class Asked:
    """One server and path, and what its turns gave."""

    server: Server
    path: str
    token: str = ""
    body: Any = None
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def measure(place: Workplace) -> list[Figure]:
    """Return the ratios to the peers."""
    turns, seconds = (1, 1) if place.short else (9, 2)
    with ExitStack() as stack:
        address = stack.enter_context(place.postgres())
        token = place.token("bench")
        hub = stack.enter_context(place.hub("--no-jobs", core=0))
        bare = _peer(stack, place, "bare_aiohttp.py")
        fast = _peer(stack, place, "fastapi_app.py", address)
        item, order = (
            [
                Asked(hub, f"/business/probe/{name}", token, body),
                Asked(bare, f"/{name}", "", body),
                Asked(fast, f"/{name}", "", body),
            ]
            for name, body in (("item", ITEM), ("order", ORDER))
        )
        stocked = [Asked(hub, "/business/probe/stocked", token, ORDER), Asked(fast, "/stocked", "", ORDER)]
        everything = [*item, *order, *stocked]
        for asked in () if place.short else everything:  # warm up
            _turn(place, asked, 1)
            asked.rates.clear()
            asked.costs.clear()
        for _ in range(turns):
            for asked in everything:
                _turn(place, asked, seconds)
    return [
        *_compared(0.5, "typed route, flat body / bare aiohttp handler", item[0], item[1]),
        *_compared(1.4, "typed route, flat body / FastAPI + uvicorn + pydantic", item[0], item[2]),
        *_compared(0.5, "typed route, nested body / bare aiohttp handler", order[0], order[1]),
        *_compared(1.4, "typed route, nested body / FastAPI + uvicorn + pydantic", order[0], order[2]),
        *_compared(1.3, "nested body and one SELECT / FastAPI + SQLAlchemy", *stocked),
        *(Figure(f"  {_name(each, hub, bare)} {each.path}", median(each.rates), unit="req/s") for each in everything),
    ]


def _name(asked: Asked, hub: Server, bare: Server) -> str:
    return "heartwood" if asked.server is hub else "aiohttp" if asked.server is bare else "FastAPI"


def _peer(stack: ExitStack, place: Workplace, script: str, *argv: str) -> Server:
    port = free_port()
    line = pinned(0, sys.executable, HERE / "peers" / script, port, *argv)
    return stack.enter_context(running(line, f"http://127.0.0.1:{port}", "/ready", place.folder / "peers.log"))


def _turn(place: Workplace, asked: Asked, seconds: int) -> None:
    """Ask with wrk for some seconds; every answer must be a 2xx."""
    script = place.folder / "order.lua"
    bearer = f"Bearer {asked.token}" if asked.token else ""
    script.write_text(SCRIPT.format(body=json.dumps(asked.body), authorization=bearer))
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, asked.server.url + asked.path]
    used = asked.server.cpu()
    said = subprocess.run(pinned(1, *argv), check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    answered = int(re.search(r"(\d+) requests in", said)[1])
    asked.costs.append((asked.server.cpu() - used) / answered)
    asked.rates.append(float(re.search(r"Requests/sec: +([\d.]+)", said)[1]))


def _compared(limit: float, name: str, ours: Asked, theirs: Asked) -> list[Figure]:
    rates = [mine / other for mine, other in zip(ours.rates, theirs.rates, strict=True)]
    costs = [other / mine for mine, other in zip(ours.costs, theirs.costs, strict=True)]
    return [
        at_least(limit, name, median(rates), "x", spread(rates)),
        Figure("  the same by processor time per request", median(costs), unit="x", note=spread(costs)),
    ]
