"""Real documents, from the folder that ``HEARTWOOD_CORPUS`` names: how each kind ends, and how much of it is read."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from heartwood.testing import running_hub
from heartwood_ocr.plugin import OcrPlugin

SAMPLE = {
    "sroie/img/018.jpg": ("ready", "sroie/text/018.txt"),
    "ocr/phototest-rotated-L.png": ("ready", "ocr/phototest-rotated-L.gt.txt"),
    "ocr/eurotext.tif": ("ready", "ocr/eurotext.gt.txt"),
    "ocr/dl_ocr_test_rotated_180.pdf": ("ready", "ocr/dl_ocr_test.gt.txt"),
    "pdf/tracemonkey.pdf": ("ready", None),
    "pdf/lichtenstein.pdf": ("needs_review", None),
    "hostile/files/truncated_50pct.pdf": ("failed", None),
    "hostile/files/r6-both-passwords.pdf": ("failed", None),
}
"""Files with the state in which they end, and what is printed on them where that is known."""

LEAST_RECALL = 0.8


@pytest.fixture(name="corpus")
def _corpus() -> Path:
    folder = os.environ.get("HEARTWOOD_CORPUS")
    if not folder:
        pytest.skip("no corpus: HEARTWOOD_CORPUS names none")
    return Path(folder)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def recall(truth: str, text: str) -> float:
    """Return the share of the words of ``truth`` that are in ``text``."""
    wanted = words(truth)
    return (wanted & words(text)).total() / wanted.total()


@pytest.mark.corpus
async def test_sample_of_the_corpus_is_read(corpus):
    """Receipts, turned pages, several languages, text layers, empty and damaged files end as they should."""
    form = aiohttp.FormData(quote_fields=False)
    for name in SAMPLE:
        form.add_field("file", (corpus / name).read_bytes(), filename=name)
    async with running_hub(plugins=[OcrPlugin]) as hub:
        answer = await hub.client.post("/business/documents/upload", data=form)
        assert 202 == answer.status, await answer.text()
        urls = dict(zip(SAMPLE, (each["url"] for each in (await answer.json())["documents"]), strict=True))
        await hub.jobs.drain(within=100)
        states = {name: (await (await hub.client.get(url)).json())["status"] for name, url in urls.items()}
        texts = {name: await (await hub.client.get(f"{url}/text")).text() for name, url in urls.items()}
    assert {name: state for name, (state, _) in SAMPLE.items()} == states
    printed = {name: (corpus / truth).read_text(encoding="utf-8") for name, (_, truth) in SAMPLE.items() if truth}
    recalls = {name: recall(truth, texts[name]) for name, truth in printed.items()}
    assert {} == {name: share for name, share in recalls.items() if share < LEAST_RECALL}
    assert "trace" in texts["pdf/tracemonkey.pdf"]
