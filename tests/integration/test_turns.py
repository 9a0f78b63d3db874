"""Chunks of many jobs take turns: with small stages of the test's own, and the whole way with a simulated engine."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from schemas.chunks import SAMPLE_RATE
from schemas.events import Cancelled, Converted, Downloaded
from schemas.message import Message
from schemas.options import Options
from schemas.requests import SubmitRequest
from tests.acceptance.test_cli import Terminal
from tests.builders import converted, downloaded, resources, task
from tests.harness import ALL_STAGES, Server, alive, ended, node, until, upload
from tests.integration.test_worker import Doing, Mortal, fact, set_ack_wait, working
from tests.observed import pulled
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.audio import flac
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.cli import follow
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.waiting import fleet_shown
from v2t_stream.doctor.broker import waiting
from v2t_stream.fleet.presence import Presence, announce, fleet
from v2t_stream.host.tasks import end
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime import turns
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.stalls import stalls
from v2t_stream.runtime.worker import Worker
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import CHUNKS, JOBS
from v2t_stream.topology.subjects import job_of

LONG, SHORT = 100, 3  # chunks
ANY, CUDA = Options(), Options(accelerator="cuda")


async def cutting(media: Downloaded) -> AsyncGenerator[Message]:
    """Yields as many chunks as the media's size says."""
    for n in range(media.size):
        yield task(n, media.job, options=media.options)
    yield converted(media.job, media.size)


def converting(slots: int = 1) -> Doing:
    return Doing(cutting, stage_row("convert"), slots=slots)


async def put(connection: Connection, job: str, chunks: int, options: Options = ANY) -> None:
    await connection.publish(downloaded(job, size=chunks, options=options))


async def queued(connection: Connection, job: str) -> int:
    """How many of its chunks are in the queue."""
    return len(await connection.subjects(CHUNKS, f"v2t.chunk.any.{job}.*"))


async def has_queued(connection: Connection, job: str, chunks: int) -> None:
    """Wait until that many of its chunks are in the queue."""
    async with asyncio.timeout(PATIENCE):
        while await queued(connection, job) != chunks:
            await asyncio.sleep(0.01)


async def waits_to_be_sent(connection: Connection, job: str) -> None:
    """Wait until the queue holds as much of a long job as may wait for the first node."""
    await has_queued(connection, job, turns._UNSEEN)


async def in_hand(connection: Connection, messages: int) -> None:
    """Wait until conversions work on that many messages."""
    async with asyncio.timeout(PATIENCE):
        while (await connection.api(f"CONSUMER.INFO.{JOBS}.convert"))["num_ack_pending"] != messages:
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def transcriber(connection: Connection, slots: int) -> AsyncIterator[Puller]:
    """Announce a node with that many slots."""
    presence = Presence("node", "transcribe", slots=slots, queues=("transcribe-any",))
    telling = asyncio.create_task(announce(connection, presence))
    try:
        async with asyncio.timeout(PATIENCE):
            while not await fleet(connection, "transcribe"):
                await asyncio.sleep(0.01)
        async with Puller(connection.client, CHUNKS, "transcribe-any", group="any") as puller:
            yield puller
    finally:
        await end(telling)


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


async def test_a_short_job_waits_for_only_a_few_chunks_of_a_long_one(connection: Connection, tmp_path: Path) -> None:
    """Else a voice message waits for hours behind a conference recording, or is not even cut."""
    async with working(connection, converting(), tmp_path):
        await put(connection, "long", LONG)
        await waits_to_be_sent(connection, "long")
        await put(connection, "short", SHORT)
        await fact(connection, Converted, job="short")
        assert await queued(connection, "short") == SHORT
        assert await queued(connection, "long") == turns._UNSEEN
        assert await connection.last(JOBS, Converted.subject_of(job="long")) is None


async def test_a_job_that_waits_for_its_turn_is_not_taken_for_lost(connection: Connection, tmp_path: Path) -> None:
    """Else a long job is cut again every few minutes while others go first."""
    presence, stop = Presence("here", "convert"), asyncio.Event()
    telling = asyncio.create_task(announce(connection, presence))
    running = asyncio.create_task(Worker(converting(), resources(connection, presence=presence)).run(stop))
    try:
        await put(connection, "long", LONG)
        async with asyncio.timeout(PATIENCE):
            while not any(info.sending for info in await fleet(connection)):
                await asyncio.sleep(0.01)
        assert await stalls(connection, ["long"]) == {}
    finally:
        stop.set()
        await running
        await end(telling)


async def test_the_queue_is_as_long_as_the_fleet_needs_it(connection: Connection, tmp_path: Path) -> None:
    """Else a large fleet is idle while chunks wait, or a short job waits for all chunks of a long one."""
    slots = 40
    order = []
    async with transcriber(connection, slots) as puller, working(connection, converting(), tmp_path):
        await put(connection, "long", LONG)
        await has_queued(connection, "long", slots + slots // 4)
        for _ in range(LONG):
            message = await pulled(puller)
            order.append(int(message.subject.rpartition(".")[2]))
            await message.ack()
        assert (await fact(connection, Converted, job="long")).chunks == LONG
    assert order == list(range(LONG))


async def test_long_jobs_share(connection: Connection, tmp_path: Path) -> None:
    """Else the second of two long recordings makes no progress until the first is done."""
    served: list[str] = []
    async with transcriber(connection, 8) as puller, working(connection, converting(), tmp_path):
        for job in ("one", "two"):
            await put(connection, job, LONG)
            await has_queued(connection, job, turns._FIRST if job == "two" else 8 + turns._SPARE)
        for _ in range(LONG):
            message = await pulled(puller)
            served.append(job_of(message.subject))
            await message.ack()
    assert LONG * 0.4 < served.count("two") < LONG * 0.6


async def test_a_long_job_goes_on_while_short_ones_come(connection: Connection, tmp_path: Path) -> None:
    """Else a long recording never finishes on a busy day."""
    coming = itertools.count()

    async def put_short() -> None:
        job = f"short{next(coming)}"
        await put(connection, job, SHORT)
        await fact(connection, Converted, job=job)

    async with transcriber(connection, 1) as puller, working(connection, converting(), tmp_path):
        await put(connection, "long", LONG)
        await has_queued(connection, "long", 1 + turns._SPARE)
        for _ in range(4):  # so there is never any room
            await put_short()
        last = 0
        while last < 2 * turns._SPARE:
            message = await pulled(puller)
            chunk = int(message.subject.rpartition(".")[2])
            if job_of(message.subject) == "long":
                last = chunk
            elif chunk == SHORT - 1:
                await put_short()
            await message.ack()


async def test_a_job_that_is_cancelled_while_it_waits_is_let_go(connection: Connection, tmp_path: Path) -> None:
    """Else chunks that nobody wants fill the queue."""
    async with working(connection, converting(), tmp_path):
        await put(connection, "long", LONG)
        await waits_to_be_sent(connection, "long")
        await connection.publish(Cancelled(job="long"))
        await in_hand(connection, 0)
        assert await queued(connection, "long") == turns._UNSEEN
    assert await queued(connection, "long") == turns._UNSEEN


async def test_a_conversion_that_waits_stays_where_it_is(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else every half minute another machine cuts the same recording again."""
    await set_ack_wait(connection, JOBS, "convert", 0.3)  # which the worker asks for when it starts
    told = await connection.client.subscribe(f"$JS.ACK.{JOBS}.convert.>")
    async with working(connection, stage := converting(), tmp_path):
        await put(connection, "long", LONG)
        await waits_to_be_sent(connection, "long")
        for _ in range(3):
            assert (await told.next_msg(PATIENCE)).data == b"+WPI"
    assert len(stage.asked) == 1


async def test_what_waits_is_sent_when_its_process_stops(connection: Connection, tmp_path: Path) -> None:
    """Else every update of a machine takes twenty seconds more and repeats its conversions."""
    async with working(connection, converting(), tmp_path):
        await put(connection, "long", LONG)
        await waits_to_be_sent(connection, "long")
    assert await queued(connection, "long") == LONG
    assert (await fact(connection, Converted, job="long")).chunks == LONG
    await in_hand(connection, 0)


async def test_what_a_process_held_when_it_died_is_cut_again(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else a long job whose conversion was killed while it waited has only its beginning."""
    async with await connect(nats[0].url, name="dying") as other:
        stop = asyncio.Event()
        worker = Mortal(converting(), resources(other))
        running = asyncio.create_task(worker.run(stop))
        await put(connection, "long", LONG)
        await waits_to_be_sent(connection, "long")
        await other.client.close()
        stop.set()
        await running
    assert await queued(connection, "long") == turns._UNSEEN
    for reply in worker.replies:
        await connection.client.publish(reply, b"-NAK")
    async with transcriber(connection, LONG), working(connection, stage := converting(), tmp_path):
        assert (await fact(connection, Converted, job="long")).chunks == LONG
        await has_queued(connection, "long", LONG)
    assert len(stage.asked) == 1


async def test_a_process_that_holds_too_many_jobs_lets_the_shortest_go(connection: Connection, tmp_path: Path) -> None:
    """Else jobs for a missing accelerator fill a machine, and it takes nothing else."""
    async with working(connection, converting(), tmp_path, Patience(held=1)):
        await put(connection, "longer", LONG)
        await waits_to_be_sent(connection, "longer")
        await put(connection, "long", LONG // 2)
        await has_queued(connection, "long", LONG // 2)
        assert await queued(connection, "longer") == turns._UNSEEN


async def test_jobs_for_a_card_that_nobody_has_stop_no_others(connection: Connection, tmp_path: Path) -> None:
    """Else a few recordings that wait for a switched-off card stop the whole fleet."""
    async with transcriber(connection, 2) as puller, working(connection, converting(), tmp_path):
        for n in range(6):
            await put(connection, f"card{n}", LONG, CUDA)
        for job in ("one", "two"):
            await put(connection, job, SHORT)
            for _ in range(SHORT):
                message = await pulled(puller)
                assert job_of(message.subject) == job
                await message.ack()
            assert (await fact(connection, Converted, job=job)).chunks == SHORT
        assert len(await connection.subjects(CHUNKS, "v2t.chunk.cuda.>")) < 6 * LONG  # most of it is still held


async def test_a_long_job_without_a_node_to_transcribe_says_so_and_stops_no_other(
    nats: tuple[Server, Connection],
    connection: Connection,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Else it shows as being converted for ever, and nobody learns that no machine can do it."""
    others = [stage for stage in ALL_STAGES if stage != "transcribe"]
    terminal = Terminal(tmp_path / "terminal", nats[0].url)
    with node(nats[0].url, tmp_path / "home", *others):
        await alive(connection, others)
        long, short = await silence(connection, tmp_path, "long", 20), await silence(connection, tmp_path, "short", 1)
        await until(connection, long, lambda job: job.chunks_cut > turns._UNSEEN)
        await until(connection, short, lambda job: job.converted is not None)
        with Bars() as bars:
            async with fleet_shown(connection, bars, patience=0.5):
                watching = asyncio.gather(*(follow.follow(connection, job, bars) for job in (long, short)))
                told = ""
                async with asyncio.timeout(PATIENCE):
                    while "v2t: 2 jobs wait, because the stage transcribe runs nowhere: start v2t" not in told:
                        told += capfd.readouterr().err
                        await asyncio.sleep(0.1)
                status, _ = await asyncio.to_thread(terminal.run, "job", "status", long)
                assert "the stage transcribe runs nowhere: start v2t" in status
                assert "\neta " not in status
                assert (
                    "in transcribe-any, and no machine runs the stage transcribe" in (await waiting(connection)).found
                )
                with node(nats[0].url, tmp_path / "other", "transcribe", **install(tmp_path / "x"), V2T_MODEL="x150"):
                    assert [job.state for job in await watching] == ["completed", "completed"]


async def silence(connection: Connection, folder: Path, name: str, minutes: int) -> str:
    """The job for a silent recording, transcribed without the detector."""
    path = folder / f"{name}.flac"
    path.write_bytes(flac.encode(np.zeros(minutes * 60 * SAMPLE_RATE, np.int16)))
    key = await upload(connection, path)
    request = SubmitRequest(media=key, title=name, language="en", vad_threshold=0, force=True)
    return (await submit(connection, request))[0]


async def test_short_files_overtake_a_long_one(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else each part is fair (decoding, cutting, queue, engine), but the whole is not."""

    def is_begun(job: Job) -> bool:
        return len(job.chunks) > 4

    with node(nats[0].url, tmp_path / "home", **install(tmp_path / "simulated"), V2T_MODEL="x150"):
        await alive(connection)
        long = await silence(connection, tmp_path, "long", 30)
        await until(connection, long, is_begun)
        short = [await silence(connection, tmp_path, f"short{n}", 1) for n in range(3)]
        for job in short:
            assert (await ended(connection, job)).state == "completed"
        now = await until(connection, long, is_begun)
        assert len(now.chunks) < 40
        assert not now.converted
        assert (await ended(connection, long)).state == "completed"
