"""Words come while the recording is still being sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.audio_files import RATE, Sounding, speech, write_tracks
from tests.harness import DATA, ended, until
from tests.serve.api import problem
from tests.serve.test_uploads import BYTES, TUS, begun, patched
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.state import Job

RECORDING = (DATA / "3min.ogg").read_bytes()
MINUTE = len(RECORDING) * 70 // 180  # bytes: a little more than its first minute
STEP = 16 << 10  # bytes sent at once


def streamed(blocks: AsyncIterator[bytes], **fields: str) -> aiohttp.FormData:
    """A form with the file last, as OpenAI's client sends it."""
    form = aiohttp.FormData({"model": "demo", "language": "en", "stream": "true", "force": "true", **fields})
    form.add_field("file", blocks, filename="talk.ogg", content_type="audio/ogg")
    return form


class Sender:
    """Sends the first minute, and the rest when it is told to."""

    def __init__(self, data: bytes = RECORDING, first: int = MINUTE) -> None:
        self._data, self._first = data, first
        self.may_end = asyncio.Event()
        self.sent = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        while self.sent < len(self._data):
            if self.sent >= self._first:
                await self.may_end.wait()
            block = self._data[self.sent : self.sent + STEP]
            yield block
            self.sent += len(block)


async def words(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    async for line in answer.content:
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


async def test_the_first_words_come_before_the_last_byte_is_sent(client: aiohttp.ClientSession) -> None:
    """Whoever sends an hour over a slow line waits an hour for the first word."""
    sender = Sender()
    async with client.post("/v1/audio/transcriptions", data=streamed(sender.blocks())) as answer:
        assert answer.status == 200
        kinds, text = [], ""
        async for event in words(answer):
            if not kinds:
                assert sender.sent < len(RECORDING)
                assert event["type"] == "transcript.text.delta"
                sender.may_end.set()
            kinds.append(event["type"])
            text += event.get("delta", "")
        assert kinds[-1] == "transcript.text.done"
        assert event["text"] == text
        assert sender.sent == len(RECORDING)


async def named(client: aiohttp.ClientSession, path: str) -> str:
    """A job of an upload."""
    wish = {"model": "demo", "language": "en", "force": True, "upload": path.rpartition("/")[2]}
    async with client.post("/v1/jobs", json=wish) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


async def test_a_sender_that_goes_away_leaves_no_half_transcript(
    client: aiohttp.ClientSession, connection: Connection
) -> None:
    """Half a meeting counts as all of it."""
    sender = Sender()
    form = streamed(sender.blocks())
    headers = {"X-V2T-Keep": "true"}  # or its job would be cancelled
    async with client.post("/v1/audio/transcriptions", data=form, headers=headers) as answer:
        async for _ in words(answer):
            break
        job = answer.headers["X-V2T-Job"]
        answer.close()
    told = await ended(connection, job)
    assert told.state == "failed"
    assert told.reason.startswith("the upload stopped at ")
    assert told.reason.endswith(": send it again")


async def test_a_field_behind_the_file_is_not_ignored(client: aiohttp.ClientSession) -> None:
    """A job runs without an option that its sender asked for."""
    sender = Sender()
    form = streamed(sender.blocks())
    form.add_field("prompt", "Ishmael")
    async with client.post("/v1/audio/transcriptions", data=form) as answer:
        sender.may_end.set()
        text = await answer.text()
    assert "the field prompt came after the file" in text


async def test_a_job_reads_an_upload_that_still_runs(client: aiohttp.ClientSession, connection: Connection) -> None:
    """Whoever uses uploads that resume waits for the last byte."""
    path = await begun(client, RECORDING)
    await patched(client, path, RECORDING[:MINUTE], 0)
    job = await named(client, path)
    await until(connection, job, lambda job: bool(job.chunks))
    async with client.get(f"/v1/jobs/{job}/media") as answer:
        assert "still being uploaded" in (await problem(answer, 409))["message"]
    await patched(client, path, RECORDING[MINUTE:], MINUTE)
    early = await ended(connection, job)
    assert (early.state, early.converted and early.converted.truncated) == ("completed", None)
    async with client.get(f"/v1/jobs/{job}/media") as answer:
        assert await answer.read() == RECORDING
    await same_as_whole(client, connection, early, path)


async def same_as_whole(client: aiohttp.ClientSession, connection: Connection, early: Job, path: str) -> None:
    """The same file, read when all of it is there, is cut at the same places."""
    whole = await ended(connection, await named(client, path))
    assert [(chunk.start, chunk.end, chunk.segments) for _, chunk in sorted(early.chunks.items())] == [
        (chunk.start, chunk.end, chunk.segments) for _, chunk in sorted(whole.chunks.items())
    ]


async def test_an_upload_that_is_withdrawn_ends_its_job(client: aiohttp.ClientSession, connection: Connection) -> None:
    """A job waits for ever for what nobody will send."""
    path = await begun(client, RECORDING)
    await patched(client, path, RECORDING[:MINUTE], 0)
    job = await named(client, path)
    await until(connection, job, lambda job: bool(job.chunks))
    async with client.delete(path, headers=TUS) as answer:
        assert answer.status == 204
    told = await ended(connection, job)
    assert (told.state, told.reason) == ("failed", "the upload was withdrawn: send the file again")


async def test_a_cancelled_job_ends_its_upload(client: aiohttp.ClientSession, connection: Connection) -> None:
    """An hour is sent for nothing, and stays in the store."""
    path = await begun(client, RECORDING)
    await patched(client, path, RECORDING[:MINUTE], 0)
    job = await named(client, path)
    await until(connection, job, lambda job: bool(job.chunks))
    async with client.delete(f"/v1/jobs/{job}") as answer:
        assert answer.status == 200
    headers = {**BYTES, "Upload-Offset": str(MINUTE)}
    async with client.patch(path, data=RECORDING[MINUTE:], headers=headers) as answer:
        await problem(answer, 404)


async def test_a_film_with_its_index_at_the_end_waits(
    client: aiohttp.ClientSession, connection: Connection, tmp_path: Path
) -> None:
    """A kind of file that nobody can read from its start fails, as it is not whole yet."""
    path = write_tracks(tmp_path / "film.mp4", [Sounding(speech())], "aac", rate=RATE)
    data = path.read_bytes()
    assert data.find(b"moov") > data.find(b"mdat")
    half = len(data) // 2
    upload = await begun(client, data)
    await patched(client, upload, data[:half], 0)
    job = await named(client, upload)
    await until(connection, job, lambda job: job.downloaded is not None)
    await patched(client, upload, data[half:], half)
    told = await ended(connection, job)
    assert (told.state, len(told.chunks)) == ("completed", 1)
