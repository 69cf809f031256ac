"""A client's ledger: what it uploaded, and what was acknowledged to it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time

import aiohttp
from attrs import define, field

from faults.parts.form import SEED


@define
class Upload:
    """One document as its sender knows it: ``id`` once it was acknowledged. Its bytes can be made again."""

    key: str
    size: int
    sha256: str = ""
    id: str | None = None

    def __attrs_post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.content()).hexdigest()

    def content(self) -> bytes:
        return b"\xff\xd8\xff" + random.Random(self.key).randbytes(self.size - 3)


@define
class Ledger:
    """Uploads without end and remembers, on the client's side, what was acknowledged. It is the truth.

    Each document has an idempotency key, and is sent again with it until the answer is 202.
    """

    hub: object
    size: int = 64 * 1024
    uploads: dict[str, Upload] = field(factory=dict)
    answers: list[tuple[int, float, dict]] = field(factory=list)
    cut: int = 0

    @contextlib.asynccontextmanager
    async def sending(self, clients: int):
        """Upload from so many clients at once meanwhile; at the end everything that was begun is acknowledged."""
        stop = asyncio.Event()
        async with self.hub.client() as client:
            senders = [asyncio.create_task(self._send_on(client, stop)) for _ in range(clients)]
            try:
                yield
                stop.set()
                await asyncio.wait_for(asyncio.gather(*senders), 60)
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)

    @property
    def acknowledged(self) -> list[Upload]:
        return [upload for upload in self.uploads.values() if upload.id is not None]

    async def _send_on(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            key = f"{SEED}-{len(self.uploads)}"
            self.uploads[key] = Upload(key, self.size)
            while self.uploads[key].id is None:
                await self.send(client, key)
                if self.uploads[key].id is None:
                    await asyncio.sleep(0.05)

    async def send(self, client: aiohttp.ClientSession, key: str) -> None:
        """Send one document; the answer, whichever it is, goes into the ledger."""
        upload = self.uploads[key]
        form = aiohttp.FormData()
        form.add_field("file", upload.content(), filename=f"{key}.jpg", content_type="image/jpeg")
        started = time.monotonic()
        try:
            async with client.post("/business/documents/upload", data=form, headers={"Idempotency-Key": key}) as answer:
                body = await answer.json()
                self.answers.append((answer.status, time.monotonic() - started, dict(answer.headers)))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
            self.cut += 1
            return
        if answer.status == 202:
            (document,) = body["documents"]
            assert upload.sha256 == document["sha256"]
            assert upload.id in (None, document["id"]), "one key has two documents"
            upload.id = document["id"]
        else:
            assert answer.status in (409, 503), (answer.status, body)

    async def check(self) -> None:
        """Compare the hub with the ledger: nothing is lost, nothing is there twice or by half."""
        by_id = {upload.id: upload for upload in self.acknowledged}
        assert len(self.uploads) == len(by_id), "an upload is not acknowledged, or two have one document"
        async with self.hub.client() as client:
            for document, upload in by_id.items():
                async with client.get(f"/business/documents/{document}/original") as answer:
                    assert upload.sha256 == hashlib.sha256(await answer.read()).hexdigest(), document
            for key in random.Random(SEED).sample(list(self.uploads), min(20, len(self.uploads))):
                await self.send(client, key)  # a repetition answers with the same document, or this fails
        rows = await self.hub.rows(WHOLE)
        assert {(upload.id, upload.sha256, upload.size, 1, 1) for upload in by_id.values()} == set(rows)
        assert len(by_id) == len(rows)
        assert not await self.hub.value("select count(*) from core.idempotency where status is null")


WHOLE = """
select d.id::text, d.sha256, d.size,
    (select count(*) from queue.pgqueuer where entrypoint = 'ocr.read'
        and convert_from(payload, 'utf8')::jsonb ->> 'document' = d.id::text),
    (select count(*) from core.audit where action = 'documents.upload' and subject = d.id::text)
from ocr.document d
"""
"""Every document with the number of its jobs and of its audit rows; both must be one."""
