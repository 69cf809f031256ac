"""What becomes of a document whose job ends without having read it."""

from __future__ import annotations

import aiohttp

from heartwood.testing import fresh_database, running_hub
from heartwood_ocr.plugin import OcrPlugin
from heartwood_ocr.reading import Reader

DOCUMENTS = "/business/documents"
NAMES = ("killed", "error", "cancelled")


async def upload(hub, page, *names: str) -> dict[str, str]:
    """Send pictures in and return their ids by name."""
    data = aiohttp.FormData(quote_fields=False)
    for name in names:
        data.add_field("file", page("PNG", f"The word {name}"), filename=name)
    answer = await hub.client.post(f"{DOCUMENTS}/upload", data=data)
    assert 202 == answer.status
    return {each["name"]: each["id"] for each in (await answer.json())["documents"]}


async def job_of(hub, document: str) -> int:
    key = f"ocr.read:read:{document}"
    return await hub.kernel.database("core").fetchval("select id from queue.pgqueuer where dedupe_key = $1", key)


async def standing(hub) -> dict[str, tuple[str, str | None]]:
    """Return the state and the problem of all documents, by name."""
    answer = await hub.client.get(DOCUMENTS)
    return {each["name"]: (each["status"], each["problem"]) for each in (await answer.json())["items"]}


async def give_up(hub) -> None:
    """Do once what the plugin's task does again and again."""
    ocr = next(each for each in hub.kernel.contributed if each.record.name == "ocr")
    task = next(each for each in ocr.of("tasks") if each.name == "give_up")
    await task.fn(hub.kernel.database("ocr"))


async def ask(hub, job: int, what: str) -> None:
    answer = await hub.client.post(f"/business/jobs/{job}/{what}")
    assert answer.ok, await answer.text()


async def test_document_whose_job_ended_is_failed_and_can_be_read_again(page, tmp_path, monkeypatch):
    """A job that kills its workers, raises on its last attempt or is cancelled leaves a reason, and a way to go on."""

    async def broken(*_):
        message = "the disk is gone"
        raise OSError(message)

    config = {"data": {"dir": str(tmp_path)}}
    with fresh_database() as database:
        options = {"plugins": [OcrPlugin], "config": config, "database": database}
        async with running_hub(**options, jobs=False) as hub:
            jobs = {name: await job_of(hub, each) for name, each in (await upload(hub, page, *NAMES)).items()}
            queue = hub.kernel.database("core")
            await queue.execute("update queue.pgqueuer set crashes = 3 where id = $1", jobs["killed"])
            await queue.execute("update queue.pgqueuer set attempts = 2 where id = $1", jobs["error"])
            await give_up(hub)
            assert dict.fromkeys(NAMES, ("queued", None)) == await standing(hub)

            await ask(hub, jobs["cancelled"], "cancel")
            async with running_hub(**options, role="worker") as worker:
                with monkeypatch.context() as patch:
                    patch.setattr(Reader, "probe", broken)
                    await worker.jobs.drain()
                await give_up(hub)
                again = "; send it in again to have it read"
                assert {
                    "killed": ("failed", f"Job {jobs['killed']} could not read it: killed its worker 3 times{again}"),
                    "error": ("failed", f"Job {jobs['error']} could not read it: OSError: the disk is gone{again}"),
                    "cancelled": ("failed", f"The job that should read it was cancelled{again}"),
                } == await standing(hub)

                await ask(hub, jobs["killed"], "retry")
                await ask(hub, jobs["error"], "retry")
                await upload(hub, page, "cancelled")
                await worker.jobs.drain()
                assert dict.fromkeys(NAMES, ("ready", None)) == await standing(hub)
