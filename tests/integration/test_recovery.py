"""Losses in the middle of jobs: the jobs recover, or fail with a reason, and none hangs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.events import Downloaded, Retried, Submitted
from schemas.message import Message
from schemas.requests import SubmitRequest
from tests.acceptance.test_cli import Terminal
from tests.builders import chunk, converted, downloaded, failed, later, rerun, submitted, task
from tests.harness import ALL_STAGES, DATA, Server, alive, ended, node, until, upload
from tests.integration.test_rollback import supervised
from tests.integration.test_worker import Doing, set_ack_wait, working
from tests.observed import pulled
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.errors import Retry
from v2t_stream.fleet.presence import Presence, announce, fleet, tell
from v2t_stream.host.tasks import end
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.recovery import Pace, Recovery, recover
from v2t_stream.runtime.stalls import resting, unfinished
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import MEDIA, TRANSCRIPTS, UPLOADS
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import CHUNKS, DEAD, DONE, JOBS

SUBMITTED, DOWNLOADED, CONVERTED, FAILED = submitted(), downloaded(), converted(), failed()
TASK, CHUNK = task(), chunk()
RECUT, REDONE = later(1, CONVERTED), later(1, CHUNK)  # in the run after a retry
RERUN, KEPT, ANEW = rerun(DOWNLOADED), rerun(DOWNLOADED, keeps=(0,)), rerun(SUBMITTED)

HASTY = Pace(lacking=0.0)  # repairs at the next look what is missing
PROMPT = HASTY._replace(late=0.0)  # and takes redeliveries to be due at once, if the worker died or the pause is over


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


@contextlib.asynccontextmanager
async def recovering(connection: Connection) -> AsyncIterator[None]:
    """As a stage does it, but in less than a second."""
    pace = Pace(lacking=0.5, look_every=0.2, streams_every=0.2, share=1.0)
    looking = asyncio.create_task(recover(connection, Settings(), pace))
    try:
        yield
    finally:
        await end(looking)


async def taken(connection: Connection, stage: str) -> None:
    """Take and ack everything that waits for a stage without doing it, so its messages are lost."""
    (consumer,) = stage_row(stage).consumers
    async with Puller(connection.client, JOBS, consumer.durable) as puller:
        async with asyncio.timeout(PATIENCE):
            while await left(connection, consumer.durable):
                if message := await puller.next(1):
                    await message.ack_sync()


async def left(connection: Connection, durable: str) -> int:
    """How many messages wait or are not acked."""
    info = await connection.api(f"CONSUMER.INFO.{JOBS}.{durable}")
    return int(info["num_pending"] + info["num_ack_pending"])


async def sent(connection: Connection, message: Message) -> int:
    stored = await connection.last(JOBS, message.subject)
    return stored.sequence if stored else 0


# -- jobs


@pytest.mark.parametrize(
    ("facts", "stage", "again"),
    [
        ((SUBMITTED,), "download", SUBMITTED),
        ((SUBMITTED, DOWNLOADED), "convert", DOWNLOADED),
        ((SUBMITTED, DOWNLOADED, CONVERTED), "convert", DOWNLOADED),
        ((SUBMITTED, DOWNLOADED, CONVERTED, CHUNK), "aggregate", CONVERTED),
        ((SUBMITTED, DOWNLOADED, FAILED, RERUN), "convert", RERUN),
        ((SUBMITTED, DOWNLOADED, FAILED, RERUN, RECUT), "convert", RERUN),
        (
            (SUBMITTED, DOWNLOADED, FAILED, RERUN, RECUT, REDONE),
            "aggregate",
            RECUT,
        ),
        ((SUBMITTED, DOWNLOADED, CHUNK, FAILED, KEPT, RECUT), "aggregate", RECUT),
        ((SUBMITTED, FAILED, ANEW), "download", ANEW),
        ((SUBMITTED, DOWNLOADED, FAILED, Retried(job="job", time=1, chunks=())), "convert", DOWNLOADED),  # by 0.1
    ],
)
async def test_one_of_many_processes_sends_a_lost_message_again(
    facts: tuple[Message, ...], stage: str, again: Message, connection: Connection
) -> None:
    """Else the job hangs for ever, or each node of a fleet starts it again."""
    for each in facts:
        await connection.publish(each)
    for each in ("download", "convert", "aggregate"):
        await taken(connection, each)
    before = await connection.api(f"STREAM.INFO.{JOBS}")
    many = [Recovery(connection, HASTY) for _ in range(5)]
    (consumer,) = stage_row(stage).consumers
    after = before
    async with asyncio.timeout(PATIENCE):
        while after["state"]["last_seq"] == before["state"]["last_seq"]:
            await asyncio.gather(*(one.look() for one in many))
            after = await connection.api(f"STREAM.INFO.{JOBS}")
        while (await connection.api(f"CONSUMER.INFO.{JOBS}.{consumer.durable}"))["num_pending"] != 1:
            pass  # the server counts what waits a moment later
    assert await sent(connection, again) == after["state"]["last_seq"] == before["state"]["last_seq"] + 1
    await asyncio.gather(*(one.look() for one in many))  # now it waits
    assert await sent(connection, again) == after["state"]["last_seq"]


async def test_what_waits_or_is_in_work_is_left_alone(connection: Connection) -> None:
    """Else a long queue, a long download or a retrying node counts as a hang and starts again and again."""
    await connection.publish(SUBMITTED)
    looker = Recovery(connection, HASTY)
    await looker.look()
    async with Puller(connection.client, JOBS, "download") as puller:
        message = await puller.next(PATIENCE)
        assert message
        presence = Presence("here", "download")
        presence.since[SUBMITTED.subject] = 0.0
        await tell(connection, presence.info())
        await connection.client.flush()
        await looker.look()
        presence.since.clear()  # it was given back, for a minute
        await tell(connection, presence.info())
        await connection.client.flush()
        await looker.look()
        await looker.look()
    assert await sent(connection, SUBMITTED) == 1


@contextlib.asynccontextmanager
async def behind_one_in_work(connection: Connection) -> AsyncIterator[Puller]:
    """A running download, and behind it the job "lost", whose message is gone."""
    await set_ack_wait(connection, JOBS, "download", 0.5)
    for job in ("long", "lost"):
        await connection.publish(submitted(job))
    presence = Presence("here", "download")
    presence.since[submitted("long").subject] = 0.0
    telling = asyncio.create_task(announce(connection, presence))
    async with Puller(connection.client, JOBS, "download") as puller:
        first, lost = await pulled(puller), await pulled(puller)
        await lost.ack_sync()

        async def work() -> None:
            while True:
                await first.in_progress()
                await asyncio.sleep(0.1)

        working = asyncio.create_task(work())
        try:
            while not await fleet(connection):
                await asyncio.sleep(0.01)
            yield puller
        finally:
            await end(working)
            await end(telling)


async def looks_until(looker: Recovery, connection: Connection, message: Message, sequence: int) -> None:
    """Wait until a look has sent it again."""
    async with asyncio.timeout(PATIENCE):
        while await sent(connection, message) == sequence:
            await looker.look()


async def test_a_lost_message_behind_a_long_one_is_sent_again_where_somebody_is_free(connection: Connection) -> None:
    """Else a job hangs for as long as another one in the same stage takes: hours."""
    looker = Recovery(connection, PROMPT)
    async with behind_one_in_work(connection) as puller:
        free = asyncio.create_task(puller.next(PATIENCE))
        await looks_until(looker, connection, submitted("lost"), 2)
        message = await free
        assert message
        assert message.subject == submitted("lost").subject
        assert await sent(connection, submitted("long")) == 1


async def test_a_lost_message_behind_a_long_one_is_sent_again_where_others_are_served(connection: Connection) -> None:
    """Else it hangs for as long as the stage is overloaded, which may be days."""
    looker = Recovery(connection, PROMPT)
    async with behind_one_in_work(connection) as puller:
        due = time.monotonic() + 1
        while time.monotonic() < due:
            await looker.look()
        assert await sent(connection, submitted("lost")) == 2  # it may wait for a free slot, as the next one does
        for n in range(3):
            await connection.publish(submitted(f"next{n}"))
            await (await pulled(puller)).ack_sync()
            await looker.look()
        assert await sent(connection, submitted("lost")) > 2


async def test_a_message_that_waits_for_its_next_try_is_not_sent_again(connection: Connection, tmp_path: Path) -> None:
    """Else an impossible job starts again and again, and its tries count from 0 each time."""

    async def fail(_: Submitted) -> AsyncGenerator[Message]:
        raise Retry("not now", delay=2.0)
        yield

    stage = Doing(fail, stage_row("download"), tries=3)
    await set_ack_wait(connection, JOBS, "download", 0.5)
    await connection.publish(SUBMITTED)
    looker = Recovery(connection, PROMPT)
    async with working(connection, stage, tmp_path):
        async with asyncio.timeout(PATIENCE):
            while (job := await read(connection, "job")).state != "failed":
                await looker.look()
    assert await sent(connection, SUBMITTED) == 1
    assert len(stage.asked) == 3
    assert job.reason == "not now (given up after 3 tries)"


async def test_one_that_is_lost_among_many_that_wait_is_seen_at_once(
    connection: Connection,
) -> None:
    """Else one video of a channel with thousands hangs until all others were checked, a few at a time."""

    def of(job: str, *facts: Message) -> list[Message]:
        return [replace(each, job=job) for each in facts]

    lost = [
        *of("lost0", SUBMITTED),
        *of("lost1", SUBMITTED, DOWNLOADED),
        *of("lost2", SUBMITTED, DOWNLOADED, CONVERTED),
        *of("lost3", SUBMITTED, DOWNLOADED, FAILED, RERUN),
        *of("lost4", SUBMITTED, FAILED, ANEW),
    ]
    again = ["lost0.submitted", "lost1.downloaded", "lost2.downloaded", "lost3.rerun.1", "lost4.rerun.1"]
    for each in lost:
        await connection.publish(each)
    for stage in ("download", "convert", "aggregate"):
        await taken(connection, stage)
    for n in range(5):
        waiting = [
            *of(f"a{n}", SUBMITTED),
            *of(f"b{n}", SUBMITTED, DOWNLOADED),
            *of(f"c{n}", SUBMITTED, DOWNLOADED, CONVERTED, TASK),
            *of(f"d{n}", SUBMITTED, DOWNLOADED, FAILED, RERUN),
        ]
        for each in waiting:
            await connection.publish(each)
    before = (await connection.api(f"STREAM.INFO.{JOBS}"))["state"]["last_seq"]
    assert await resting(connection, await unfinished(connection)) == [f"lost{n}" for n in range(5)]
    looker = Recovery(connection, HASTY._replace(jobs=3))
    for _ in range(2):
        await looker.look()
    told = [each async for each in connection.watch(JOBS, "v2t.job.>", live=False, after=before) if each]
    assert sorted(each.subject for each in told) == [f"v2t.job.{name}" for name in again]


async def test_what_is_lost_over_and_over_fails_with_a_reason(connection: Connection) -> None:
    """Else recovery sends it again for ever."""
    for each in (SUBMITTED, DOWNLOADED, CONVERTED):
        await connection.publish(each)
    looker = Recovery(connection, HASTY)
    for _ in range(4):
        for stage in ("download", "convert", "aggregate"):
            await taken(connection, stage)
        await looker.look()
    job = await read(connection, "job")
    assert job.state == "failed"
    assert job.reason == (
        "the job could not go on, because 1 of its chunks are neither done nor waiting (0): retry it again"
    )


async def test_what_cannot_be_put_right_fails_with_a_reason(connection: Connection) -> None:
    """Else it shows as running for ever."""
    for each in (TASK, CHUNK):
        await connection.publish(each)
    await Recovery(connection, HASTY).look()
    assert (await read(connection, "job")).reason == (
        "the job could not go on, because the facts about its start are lost: submit it again"
    )


async def test_a_moment_between_two_stages_is_no_loss(connection: Connection) -> None:
    """Else every job that is between two stages at the time of a look has its work done twice."""
    await connection.publish(SUBMITTED)
    await taken(connection, "download")
    looker = Recovery(connection)
    await looker.look()
    await looker.look()
    assert await sent(connection, SUBMITTED) == 1


async def test_what_was_converted_is_converted_again_where_that_is_asked_for(
    connection: Connection, tmp_path: Path
) -> None:
    """Else lost chunks are never cut again, or every repeated message repeats all the work."""

    async def convert(_: Downloaded) -> AsyncGenerator[Message]:
        yield CONVERTED

    stage = Doing(convert, stage_row("convert"))
    await connection.publish(DOWNLOADED)
    await connection.publish(CONVERTED)
    async with working(connection, stage, tmp_path):
        async with asyncio.timeout(PATIENCE):
            while (await connection.api(f"CONSUMER.INFO.{JOBS}.convert"))["ack_floor"]["stream_seq"] < 1:
                await asyncio.sleep(0.01)
        assert stage.asked == []
        assert await connection.publish(DOWNLOADED, replaces=1)
        async with asyncio.timeout(PATIENCE):
            while (await connection.api(f"CONSUMER.INFO.{JOBS}.convert"))["ack_floor"]["stream_seq"] < 3:
                await asyncio.sleep(0.01)
    assert stage.asked == [DOWNLOADED]
    assert await sent(connection, CONVERTED) == 2


# -- streams and buckets, with all stages at work


@contextlib.asynccontextmanager
async def job_without_chunks(server: Server, connection: Connection, tmp_path: Path) -> AsyncIterator[str]:
    """With all stages running, a converted job whose queue was purged."""
    environment = {**install(tmp_path / "simulated"), "V2T_MODEL": "x30"}
    media = await upload(connection, DATA / "3min.ogg")
    with node(server.url, tmp_path / "node", *ALL_STAGES, **environment):
        await alive(connection)
        job_id, _ = await submit(connection, SubmitRequest(media=media, force=True, language="en"))
        await until(connection, job_id, lambda job: job.converted is not None)
        await connection.api(f"STREAM.PURGE.{CHUNKS}")
        yield job_id


async def test_a_job_recovers_from_the_loss_of_streams(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else one wrong `nats stream purge` leaves jobs that never end, and an ETA that never comes."""
    server, connection = nats
    async with job_without_chunks(server, connection, tmp_path) as job_id:
        for stream in (DONE, DEAD, f"OBJ_{TRANSCRIPTS}"):
            await connection.api(f"STREAM.DELETE.{stream}")
        terminal = Terminal(tmp_path / "home", server.url)
        said, _ = await asyncio.to_thread(terminal.run, "job", "status", job_id)
        assert "of its chunks are neither done nor waiting" in said
        assert "\neta " not in said
        told, _ = await asyncio.to_thread(terminal.start("doctor").communicate)
        assert f"{job_id} cannot go on" in " ".join(told.split())
        async with recovering(connection):
            job = await ended(connection, job_id)
    assert job.state == "completed"
    assert job.completed
    assert not job.completed.gaps
    assert len(job.chunks) == 6
    assert await JetStreamStore(connection).get(f"{job.completed.transcript}.txt")
    assert await connection.messages(DONE) == 1


async def test_a_job_fails_with_a_reason_where_its_media_is_gone(
    nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """Else it waits for media that will never come back."""
    server, connection = nats
    async with job_without_chunks(server, connection, tmp_path) as job_id:
        for bucket in (MEDIA, UPLOADS):
            await connection.api(f"STREAM.DELETE.OBJ_{bucket}")
        async with recovering(connection):
            job = await ended(connection, job_id)
    assert job.state == "failed"
    assert "no longer in the object store" in job.reason


@pytest.mark.parametrize("stream", [CHUNKS, JOBS])
async def test_a_job_recovers_from_damage_on_the_broker_s_disk(
    stream: str, nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """Else two bytes lost by a disk leave a job that never ends."""
    server, connection = nats
    environment = {**install(tmp_path / "simulated"), "V2T_MODEL": "x30"}
    media = await upload(connection, DATA / "3min.ogg")
    with node(server.url, tmp_path / "node", *ALL_STAGES, **environment) as running:
        await alive(connection)
        job_id, _ = await submit(connection, SubmitRequest(media=media, force=True, language="en"))
        await until(connection, job_id, lambda job: job.converted is not None)
        server.kill()
        for block in server.folder.rglob(f"{stream}/msgs/*.blk"):
            data = bytearray(block.read_bytes())
            for place in (len(data) // 3, len(data) // 2):
                data[place : place + 1] = bytes(byte ^ 0xFF for byte in data[place : place + 1])
            block.write_bytes(data)
        server.start()
        reviving = asyncio.create_task(supervised(running))
        async with recovering(connection):
            job = await ended(connection, job_id)
        await end(reviving)
    assert job.state == "completed"
    assert len(job.chunks) == 6
    assert not job.gaps
