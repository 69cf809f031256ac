"""FastAPI on uvicorn (uvloop, httptools): pydantic bodies, orjson, no token, no log, no metrics.

Arguments: the port, and the address of a database for the route with a SELECT. The answer is written by pydantic, which
FastAPI recommends as the fastest way.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import orjson
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import BigInteger, Text, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Item(BaseModel):
    """A flat body: the example of FastAPI's documentation."""

    name: str
    price: float
    description: str | None = None
    tax: float | None = None


class Line(BaseModel):
    """One line of an order."""

    sku: str
    count: int
    price: float


class Order(BaseModel):
    """What is sent in."""

    id: int
    customer: str
    lines: list[Line]
    note: str | None = None


class Receipt(BaseModel):
    """What is answered."""

    id: int
    customer: str
    lines: int
    total: float
    stock: str | None = None


class Base(DeclarativeBase):
    """The tables."""


class Stock(Base):
    """An article; the same table that the hub's route reads."""

    __tablename__ = "stock"
    __table_args__ = {"schema": "probe"}  # noqa: RUF012  (SQLAlchemy's way)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(Text)


class OrjsonRequest(Request):
    """A request whose body is read by orjson."""

    async def json(self) -> Any:
        """Return the body."""
        return orjson.loads(await self.body())


class OrjsonRoute(APIRoute):
    """A route whose requests are read by orjson."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Any:
            return await handler(OrjsonRequest(request.scope, request.receive))

        return handle


async def session(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a session for one request, as FastAPI's documentation does it."""
    async with request.app.state.make_session() as opened:
        yield opened


def make_app(address: str) -> FastAPI:
    """Return the application; ``address`` is empty where there is no database."""
    app = FastAPI()
    app.router.route_class = OrjsonRoute

    @app.post("/item")
    async def item(body: Item) -> Item:
        return body

    @app.post("/order")
    async def order(body: Order) -> Receipt:
        total = sum(each.count * each.price for each in body.lines)
        return Receipt(id=body.id, customer=body.customer, lines=len(body.lines), total=total)

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    if address:
        engine = create_async_engine(
            address.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0
        )
        app.state.make_session = async_sessionmaker(engine, expire_on_commit=False)

        @app.post("/stocked")
        async def stocked(body: Order, opened: Annotated[AsyncSession, Depends(session)]) -> Receipt:
            found = (await opened.execute(select(Stock).where(Stock.id == body.id))).scalar_one_or_none()
            total = sum(each.count * each.price for each in body.lines)
            name = found.name if found else None
            return Receipt(id=body.id, customer=body.customer, lines=len(body.lines), total=total, stock=name)

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[2] if len(sys.argv) > 2 else ""),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
