"""The commands, run as programs against the plugin's routes behind a socket."""

from __future__ import annotations

import asyncio
import json
import sys
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import asdict

from heartwood.contracts.errors import Problem
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.routes import DocumentRoutes

COMMAND = [sys.executable, "-c", "from heartwood.cli.app import main; main()"]


def as_json(value) -> web.Response:
    return web.Response(text=json.dumps(asdict(value), default=str), content_type="application/json")


@pytest.fixture(name="address")
async def _address(house):
    """A hub that has nothing but documents, knows one token, and reads what is sent in."""
    routes = DocumentRoutes(OcrConfig(), house.documents, lambda document: f"/business/documents/{document}")
    reading = set()

    @web.middleware
    async def outer(request, handler):
        try:
            if request.headers.get("Authorization") != "Bearer hw_good":
                return web.json_response({"detail": "This needs a valid token"}, status=401)
            return await handler(request)
        except Problem as problem:
            faults = [asdict(fault) for fault in problem.faults]
            return web.json_response({"detail": problem.detail, "faults": faults}, status=problem.status)

    async def upload(request):
        response = await routes.upload(
            request, house.owner, database=house.database, blobs=house.blobs, jobs=house.desk, events=house.desk
        )
        for _, payload, _ in house.desk.enqueued:
            reading.add(asyncio.create_task(house.read(payload.document)))
        return response

    async def listed(request):
        query = request.query
        return as_json(
            await routes.list_documents(house.owner, query.get("q", ""), query.get("status"), query.get("cursor"))
        )

    async def document(request):
        return as_json(await routes.document(house.owner, UUID(request.match_info["id"])))

    async def text(request):
        return await routes.text(house.owner, UUID(request.match_info["id"]))

    app = web.Application(middlewares=[outer])
    app.add_routes([
        web.post("/business/documents/upload", upload), web.get("/business/documents", listed),
        web.get("/business/documents/{id}", document), web.get("/business/documents/{id}/text", text),
    ])  # fmt: skip
    async with TestServer(app) as server:
        yield str(server.make_url("/business"))
        await asyncio.gather(*reading)


async def heartwood(*arguments: str, token: str = "hw_good") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, "--token", token, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_read_sends_waits_and_prints(address, receipt, tmp_path):
    """``heartwood read`` prints the text of a photograph; ``documents`` finds, lists and shows it afterwards."""
    file = tmp_path / "Beleg ä.jpg"
    file.write_bytes(receipt)
    status, out, err = await heartwood("read", str(file), "--url", address)
    assert (0, "") == (status, err)
    assert "MEADOW HARDWARE" in out
    _, found, _ = await heartwood("documents", "search", "linseed", "oil", "--url", address)
    identifier, _, state, name, snippet = found.rstrip().split("\t")
    assert ("ready", "Beleg ä.jpg") == (state, name)
    assert "Linseed oil" in snippet
    _, listed, _ = await heartwood("documents", "list", "--status", "ready", "--url", address)
    assert listed.startswith(identifier)
    _, shown, _ = await heartwood("documents", "show", identifier, "--url", address)
    assert "page 1      ocr, confidence 0." in shown
    assert "MEADOW HARDWARE" in shown


async def test_several_files_have_headings_and_a_failure_is_a_status(address, page, tmp_path):
    """Of two files the good one is printed under its name, the bad one gets its sentence, and the status says so."""
    (tmp_path / "good.png").write_bytes(page("PNG", "Brass hinge"))
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    files = [str(tmp_path / name) for name in ("good.png", "bad.pdf")]
    status, out, err = await heartwood("read", *files, "--url", address)
    assert 1 == status
    assert "== good.png ==\nBrass hinge\n" in out
    assert "bad.pdf: failed: The PDF is damaged and cannot be opened\n" == err


@pytest.mark.parametrize(
    ("content", "token", "sentence"),
    [
        (
            b"MZ",
            "hw_good",
            "heartwood: 'x' is none of what is read here: PDF, JPEG, PNG or TIFF, told by its content\n",
        ),
        (b"", "hw_good", "heartwood: The file 'x' is empty; file: 'x' is empty\n"),
        (b"MZ", "hw_bad", "heartwood: This needs a valid token\n"),
    ],
)
async def test_refusal_is_one_sentence(address, tmp_path, content, token, sentence):
    """What the hub refuses is said in its words, without a traceback."""
    (tmp_path / "x").write_bytes(content)
    assert (1, "", sentence) == await heartwood("read", str(tmp_path / "x"), "--url", address, token=token)


async def test_no_hub_is_one_sentence(unused_tcp_port):
    """Where nothing listens, the command says what to start."""
    url = f"http://127.0.0.1:{unused_tcp_port}/business"
    status, _, err = await heartwood("documents", "list", "--url", url)
    assert 1 == status
    assert err.startswith(f"heartwood: no hub answers at {url}")
    assert "Traceback" not in err
