"""Queues as the server counts them, and dead letters, on a real nats-server with real stages."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.message import encode
from schemas.requests import SubmitRequest
from tests.harness import DATA, broker, ended, node, until, upload
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.dead_letters import Dead, dead_letters
from v2t_stream.jobs.redrive import redrive
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.queues import Queue, pause, queues, resume
from v2t_stream.topology.subjects import SUBMIT_SUBJECT


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    """Of a broker on which all stages run, with an engine that takes no time."""
    async with broker(tmp_path / "nats") as (server, connection):
        environment = {**install(tmp_path / "simulated"), "V2T_MODEL": "x1000"}
        with node(server.url, tmp_path / "home", **environment):
            yield connection


async def start(connection: Connection, clip: str = "3min.ogg", model: str = "x1000") -> str:
    """Submit by a plain message: the engine is known to the nodes, and not to this process."""
    media = await upload(connection, DATA / clip)
    wish = SubmitRequest(media=media, force=True, engine="simulated", model=model)
    sequence, _ = await connection.submit(SUBMIT_SUBJECT, encode(wish), secrets.token_hex())
    return job_id(await inbox_epoch(connection), sequence)


async def queue(connection: Connection, name: str) -> Queue:
    return next(one for one in await queues(connection) if one.name == name)


async def letters(connection: Connection, count: int) -> list[Dead]:
    """The dead letters when there are so many."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await dead_letters(connection)) < count:
            await asyncio.sleep(0.05)
    return found


async def test_a_paused_queue_holds_its_work_and_loses_none(connection: Connection) -> None:
    """Else who needs a machine for an hour must end it, or loses what arrives meanwhile."""
    before = time.time()
    await pause(connection, "transcribe-any")
    job = await until(connection, await start(connection), lambda job: job.converted is not None)
    held = await queue(connection, "transcribe-any")
    assert (held.paused, held.accelerator) == (True, "any")
    assert held.waiting == job.chunks_cut > 1
    assert held.oldest
    assert before - 5 < held.oldest <= time.time() + 5
    assert not job.chunks

    await resume(connection, "transcribe-any")
    assert (await ended(connection, job.id)).state == "completed"
    async with asyncio.timeout(PATIENCE):  # a chunk is acked after its result is there
        while (drained := await queue(connection, "transcribe-any")).waiting or drained.in_work:
            await asyncio.sleep(0.05)
    assert (drained.paused, drained.oldest) == (False, None)


async def test_an_unknown_queue_is_named_with_those_there_are(connection: Connection) -> None:
    """Else a typing error pauses nothing and says nothing."""
    with pytest.raises(V2TError, match=r"unknown queue 'transcribe-gpu': use one of intake, .*transcribe-cuda"):
        await pause(connection, "transcribe-gpu")


async def test_a_chunk_that_is_driven_again_fills_its_gap(connection: Connection, tmp_path: Path) -> None:
    """Else what one bad engine could not do is missing for good, or the letter of it stays for ever."""
    good = await ended(connection, await start(connection))
    lengths = {n: float(next(iter(chunk.segments)).text.split()[0]) for n, chunk in good.chunks.items()}
    n = max(lengths, key=lambda n: lengths[n])
    job = await ended(connection, await start(connection, model=f"x1000-poison{lengths[n]}"))
    assert [gap.chunk for gap in job.gaps] == [n]
    (letter,) = await letters(connection, 1)
    assert (letter.chunk, letter.letter.stage, letter.letter.job) == (n, "transcribe", job.id)

    # Where nothing was mended it is given up again: this letter goes, another comes.
    assert await redrive(connection, None, letter, tmp_path) == job.id
    async with asyncio.timeout(PATIENCE):
        while not (found := await dead_letters(connection)) or found[0].number == letter.number:
            await asyncio.sleep(0.05)
    (letter,) = found

    # Done meanwhile by another engine.
    job = await until(connection, job.id, lambda job: job.state == "completed" and bool(job.gaps))
    await operations.retry(connection, job, chunk=n, model="x1000")
    assert await dead_letters(connection) == [], "the retry replaces the letter"
    await until(connection, job.id, lambda job: job.state == "completed" and not job.gaps)
    with pytest.raises(V2TError, match=f"chunk {n} of job {job.id} is no longer missing"):
        await redrive(connection, None, letter, tmp_path)


async def test_a_submission_is_submitted_again(connection: Connection, tmp_path: Path) -> None:
    """Else a refused message must be typed again by whoever sent it."""
    await connection.submit(SUBMIT_SUBJECT, b"gopher://nobody", "once")
    (letter,) = await letters(connection, 1)
    assert letter.letter.stage == "intake"
    assert await redrive(connection, None, letter, tmp_path) == ""
    found = await letters(connection, 1)
    assert [one.letter.data for one in found] == [b"gopher://nobody"]
    assert found[0].number > letter.number


async def test_a_forgotten_job_is_said(connection: Connection, tmp_path: Path) -> None:
    """Else the letter of a job whose facts have expired seems to be tried again, and nothing happens."""
    await connection.submit(SUBMIT_SUBJECT, b"gopher://nobody", "once")
    (letter,) = await letters(connection, 1)
    stray = letter._replace(
        letter=type(letter.letter)(
            job="none-1",
            stage="convert",
            reason="",
            original_subject="v2t.job.none-1.downloaded",
            data=b"",
            deliveries=1,
            node="",
        )
    )
    with pytest.raises(V2TError, match="job none-1 of dead letter 1 has been forgotten"):
        await redrive(connection, None, stray, tmp_path)
