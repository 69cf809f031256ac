"""The bare handler: aiohttp and uvloop, no token, no log, no metrics, no check of the body. Argument: the port."""

from __future__ import annotations

import sys

import orjson
import uvloop
from aiohttp import web


async def item(request: web.Request) -> web.Response:
    """Answer what came."""
    body = orjson.loads(await request.read())
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def order(request: web.Request) -> web.Response:
    """Add an order up."""
    body = orjson.loads(await request.read())
    lines = body["lines"]
    total = sum(each["count"] * each["price"] for each in lines)
    answer = {"id": body["id"], "customer": body["customer"], "lines": len(lines), "total": total, "stock": None}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def ready(_: web.Request) -> web.Response:
    """Say that it is up."""
    return web.Response(text="ready")


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/item", item)
    app.router.add_post("/order", order)
    app.router.add_get("/ready", ready)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())
