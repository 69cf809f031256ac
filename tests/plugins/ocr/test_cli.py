"""The commands, run as programs against a real hub."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
import pytest_asyncio

from heartwood.testing import running_hub
from heartwood_ocr.plugin import OcrPlugin

COMMAND = [sys.executable, "-c", "from heartwood.cli.app import main; main()"]


@pytest_asyncio.fixture(name="heartwood", scope="module", loop_scope="module")
async def _heartwood():
    """Run ``heartwood …`` as the owner of a hub; gives status, output and errors."""
    async with running_hub(plugins=[OcrPlugin]) as hub:
        token = hub.client.headers["Authorization"].removeprefix("Bearer ")

        async def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
            known = {"HEARTWOOD_URL": f"{hub.url}/business", "HEARTWOOD_TOKEN": token}
            return await heartwood(*arguments, **known | environ)

        yield run


async def heartwood(*arguments: str, **environ: str) -> tuple[int, str, str]:
    pipe, env = asyncio.subprocess.PIPE, {**os.environ, **environ}
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, env=env, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_read_sends_waits_and_prints(heartwood, receipt, tmp_path):
    """``heartwood read`` prints the text of a photograph; ``documents`` finds, lists and shows it afterwards."""
    file = tmp_path / "Beleg ä.jpg"
    file.write_bytes(receipt)
    status, out, err = await heartwood("read", str(file))
    assert (0, "") == (status, err)
    assert "MEADOW HARDWARE" in out
    (_, found, _), (_, listed, _) = await asyncio.gather(
        heartwood("documents", "search", "linseed", "oil"), heartwood("documents", "list", "--status", "ready")
    )
    identifier, _, state, name, snippet = found.rstrip().split("\t")
    assert ("ready", "Beleg ä.jpg") == (state, name)
    assert "Linseed oil" in snippet
    assert identifier in listed
    _, shown, _ = await heartwood("documents", "show", identifier)
    assert "page 1      ocr, confidence 0." in shown
    assert "MEADOW HARDWARE" in shown


async def test_several_files_have_headings_and_a_failure_is_a_status(heartwood, page, tmp_path):
    """Of two files the good one is printed under its name, the bad one gets its sentence, and the status says so."""
    (tmp_path / "good.png").write_bytes(page("PNG", "Brass hinge"))
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    status, out, err = await heartwood("read", *(str(tmp_path / name) for name in ("good.png", "bad.pdf")))
    assert 1 == status
    assert "== good.png ==\nBrass hinge\n" in out
    assert "bad.pdf: failed: The PDF is damaged and cannot be opened\n" == err


@pytest.mark.parametrize(
    ("content", "token", "sentence"),
    [
        (b"MZ", None, "heartwood: 'x' is none of what is read here: PDF, JPEG, PNG or TIFF, told by its content\n"),
        (b"", None, "heartwood: The file 'x' is empty\n"),
        (b"MZ", "hw_bad", "heartwood: This needs a valid token: send `Authorization: Bearer <token>`\n"),
    ],
)
async def test_refusal_is_one_sentence(heartwood, tmp_path, content, token, sentence):
    """What the hub refuses is said in its words, without a traceback."""
    (tmp_path / "x").write_bytes(content)
    other = {} if token is None else {"HEARTWOOD_TOKEN": token}
    assert (1, "", sentence) == await heartwood("read", str(tmp_path / "x"), **other)


async def test_impatience_says_how_to_go_on(heartwood, page, tmp_path):
    """Who does not wait is told the command that shows the text later, and nothing is printed in its place."""
    (tmp_path / "x.png").write_bytes(page("PNG", "Patience"))
    status, out, err = await heartwood("read", "--timeout", "0", str(tmp_path / "x.png"))
    assert (1, "") == (status, out)
    assert "not read yet; later: heartwood documents show " in err


async def test_no_hub_is_one_sentence(heartwood, unused_tcp_port):
    """Where nothing listens, the command says what to start."""
    url = f"http://127.0.0.1:{unused_tcp_port}/business"
    status, _, err = await heartwood("documents", "list", HEARTWOOD_URL=url)
    assert 1 == status
    assert err.startswith(f"heartwood: no hub answers at {url}")
    assert "Traceback" not in err
