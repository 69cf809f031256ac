"""A database with the documents' tables, a store, children, and files to read; tests of a module share one loop."""

from __future__ import annotations

import io
import shutil
import uuid
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
import pytest_asyncio
import structlog
from attrs import define, field
from PIL import Image, ImageDraw, ImageFont

from heartwood.contracts.data import Tables
from heartwood.contracts.jobs import Job, Retry
from heartwood.contracts.people import Actor
from heartwood.data.blobs import open_blobs
from heartwood.data.migrations import MigrationSource, upgrade
from heartwood.data.places import Places
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics
from heartwood.work.attempts import Attempt, JobHandler
from heartwood.work.children import ChildPool, ChildSettings
from heartwood.work.events import EventBus
from heartwood.work.jobs import JobQueue
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.jobs import ReadJob
from heartwood_ocr.kinds import kind_of
from heartwood_ocr.metrics import DocumentMetrics
from heartwood_ocr.models import NewDocument, ReadDocument
from heartwood_ocr.service import DocumentService
from heartwood_ocr.tools import Tesseract

OWNER = Actor(person=1, name="owner", permissions=frozenset({"*"}), via="test")
SOURCES = (
    MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations")),
    MigrationSource("ocr", Tables("heartwood_ocr.tables:metadata", "heartwood_ocr.migrations")),
)
RECEIPT = Path(__file__).parents[2] / "data_files" / "receipt.jpg"


def pytest_collection_modifyitems(items):
    """Let the tests of a module share a loop, and with it what is slow to make: a hub, a pool, children."""
    for item in items:
        if item.path.parent == Path(__file__).parent and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest.fixture(name="receipt")
def _receipt() -> bytes:
    return RECEIPT.read_bytes()


@pytest.fixture(name="page")
def _page():
    """Draw a page with lines of text and return it in a format: ``page("PDF", "first page", "second page")``."""

    def draw(kind: str, *texts: str, size: tuple[int, int] = (1000, 700)) -> bytes:
        font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 40)
        pictures = [Image.new("L", size, 255) for _ in texts]
        for picture, text in zip(pictures, texts, strict=True):
            ImageDraw.Draw(picture).multiline_text((60, 60), text, 0, font, spacing=16)
        data = io.BytesIO()
        more = {"save_all": True, "append_images": pictures[1:]} if kind in {"PDF", "TIFF"} else {}
        more |= {"compression": "tiff_deflate"} if kind == "TIFF" else {}
        pictures[0].save(data, kind, **more)
        return data.getvalue()

    return draw


@pytest.fixture(name="text_pdf")
def _text_pdf():
    return text_pdf


def text_pdf(*pages: str) -> bytes:
    """Return a PDF with a text layer, written by hand; its cross-reference table is repaired by every reader."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for index, text in enumerate(pages):
        box = f"/MediaBox [0 0 595 842] /Resources << /Font << /F 3 0 R >> >> /Contents {5 + 2 * index} 0 R"
        objects.append(f"<< /Type /Page /Parent 2 0 R {box} >>")
        content = f"BT /F 18 Tf 60 760 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + head + table + trailer).encode()


@define
class Desk:
    """Enqueues and publishes, and writes down what."""

    enqueued: list = field(factory=list)
    published: list = field(factory=list)

    async def enqueue(self, tx, job, payload=None, *, dedupe_key=None, **more):
        made = await JobQueue().enqueue(tx, job, payload, dedupe_key=dedupe_key, **more)
        if made is not None:
            self.enqueued.append((job, payload, dedupe_key))
        return made

    async def publish(self, tx, event):
        await EventBus().publish(tx, event)
        self.published.append(event)


PICKED = "insert into queue.pgqueuer (entrypoint, priority, status) values ('ocr.read', 0, 'picked') returning id"


async def attempt(database, actor: Actor, *, last: bool) -> Attempt:
    """Return an attempt at a job that was just picked; with ``last`` it has no other."""

    async def call(_payload, _run):
        raise AssertionError

    job = await database.fetchval(PICKED)
    handler = JobHandler("ocr", Job("read", call, retry=Retry(attempts=1 if last else 3)), call)
    made = Attempt(handler, SimpleNamespace(id=job, attempts=1), 0, database, nullcontext())
    made.actor = actor
    return made


@define
class House:
    """What the plugin's parts are given."""

    dsn: str
    database: object
    blobs: object
    children: ChildPool
    config: OcrConfig = field(factory=OcrConfig)
    owner: Actor = OWNER
    desk: Desk = field(factory=Desk)
    metrics: DocumentMetrics = field(factory=DocumentMetrics)
    job: ReadJob = field(init=False)

    def __attrs_post_init__(self):
        self.job = ReadJob(self.config, self.metrics, Tesseract(self.config.languages), structlog.get_logger())

    @property
    def documents(self) -> DocumentService:
        return DocumentService(lambda: self.database, lambda document: f"/business/documents/{document}")

    async def stage(self, data: bytes):
        async def chunks():
            yield data

        return await self.blobs.stage(chunks())

    async def put(self, data: bytes, name: str = "document", actor: Actor = OWNER):
        """Store bytes as a queued document and return its id."""
        staged = await self.stage(data)
        new = NewDocument(name, staged.sha256, staged.size, kind_of(data).media_type)
        async with self.database.unit(actor) as tx:
            await self.blobs.keep(staged)
            return await store.add(tx, actor, new)

    async def read(self, document, actor=OWNER, *, last=False) -> None:
        run = await attempt(self.database, actor, last=last)
        await self.job.read(
            ReadDocument(document), run, actor,
            database=self.database, blobs=self.blobs, children=self.children, events=self.desk,
        )  # fmt: skip


@pytest_asyncio.fixture(name="ground", scope="module", loop_scope="module")
async def _ground(cluster):
    """A database with the documents' tables and a second person, and warm children."""
    name = f"t{uuid.uuid4().hex[:12]}"
    server = await asyncpg.connect(f"postgresql://postgres@/postgres?host={cluster}")
    await server.execute(f"create database {name}")
    dsn = f"postgresql://postgres@/{name}?host={cluster}"
    done = await upgrade(dsn, SOURCES, structlog.get_logger())
    assert [None, None] == [each.error for each in done.values()]
    pool = Pool(dsn, DataSettings(), structlog.get_logger(), Metrics())
    await pool.open()
    await pool.database("core").execute("insert into core.person (name, role) values ('other', 'member')")
    children = ChildPool(ChildSettings(pool=2), structlog.get_logger())
    yield SimpleNamespace(dsn=dsn, database=pool.database("ocr"), children=children)
    await children.close()
    await pool.close()
    await server.execute(f"drop database {name} with (force)")
    await server.close()


@pytest_asyncio.fixture(name="house", loop_scope="module")
async def _house(ground, tmp_path):
    await ground.database.execute("truncate ocr.document, ocr.page, queue.pgqueuer")
    blobs = open_blobs(DataSettings(disk_floor=0), Places(tmp_path, tmp_path))
    yield House(ground.dsn, ground.database, blobs, ground.children)
    blobs.close()


@pytest.fixture(name="no_tesseract")
def _no_tesseract(monkeypatch, tmp_path):
    """A machine with poppler and without Tesseract."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pdftoppm", "pdfinfo", "bwrap"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
