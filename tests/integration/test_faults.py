"""The whole pipeline while its processes, its broker and its engine are killed in the middle of a job.

After each fault the transcript must be the same, segment by segment, as without it, and completed once.
"""

import asyncio
import contextlib
import http.server
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from schemas.requests import SubmitRequest
from schemas.transcript import Segment
from tests.conftest import Pipeline
from tests.harness import ALL_STAGES, DATA, Node, Server, alive, node, served, transcribe, upload
from tests.observed import NOISE, hasten, in_hand, killed, observed, record, resumed
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.queues import pause

CLIP = DATA / "3min.ogg"


class House(NamedTuple):
    """A broker and one node, which every test leaves as it found them."""

    server: Server
    machine: Node


async def _prepare(url: str) -> None:
    async with await connect(url, name="test") as connection:
        await set_up(connection, Settings())
        await hasten(connection)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("faults")
    server = Server(folder / "nats")
    server.start()
    asyncio.run(_prepare(server.url))
    try:
        with node(server.url, folder / "home", V2T_BATCH="1", V2T_WARM="true") as machine:
            yield House(server, machine)
    finally:
        server.stop()


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """Restores the pipeline before each test, and checks its logs for noise afterwards."""
    running.server.revive()
    running.machine.revive()
    read = {stage: len(running.machine.log(stage)) for stage in ALL_STAGES}
    yield running
    for stage in ALL_STAGES:
        said = running.machine.log(stage)[read[stage] :]
        assert not any(noise in said for noise in NOISE), said


@pytest.fixture
async def connection(house: House) -> AsyncIterator[Connection]:
    async with await connect(house.server.url, name="test", patience=PATIENCE) as connection:
        for queue in ("intake", "aggregate"):  # a test that failed may have left them paused
            await resumed(connection, queue)
        yield connection


@pytest.fixture(scope="module")
def undisturbed(pipeline: Pipeline) -> tuple[Segment, ...]:
    """The clip's segments when nothing goes wrong."""

    async def run() -> tuple[Segment, ...]:
        async with await connect(pipeline.url, name="test") as connection:
            media = await upload(connection, CLIP)
            job, _ = await transcribe(connection, SubmitRequest(media=media, language="en", force=True))
            return (await record(connection, job.id)).segments

    return asyncio.run(run())


@pytest.fixture
async def clip(connection: Connection, request: pytest.FixtureRequest) -> SubmitRequest:
    """A request for the clip, which no other test made."""
    return SubmitRequest(media=await upload(connection, CLIP), language="en", force=True, title=request.node.name)


# -- each stage


async def test_intake_is_killed_with_a_submission_in_hand(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a submission that was accepted never becomes a job."""
    await killed(connection, "intake", house.machine)
    async with observed(connection, clip) as job:
        await in_hand(connection, "intake", house.machine)
        house.machine.kill("intake")
        assert not job.count("submitted")
        house.machine.start("intake")
        await job.completes_as(undisturbed)


async def test_download_is_killed_half_way(
    house: House, connection: Connection, undisturbed: tuple[Segment, ...]
) -> None:
    """Else an interrupted long download never finishes, or part of it counts as all."""
    go, asked = threading.Event(), threading.Event()

    class Stalling(http.server.SimpleHTTPRequestHandler):
        """Sends half of the file, and the rest when it may."""

        def copyfile(self, source: object, outputfile: object) -> None:
            data = CLIP.read_bytes()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            asked.set()
            go.wait(PATIENCE)
            self.wfile.write(data[len(data) // 2 :])

        def log_message(self, *_: object) -> None:
            """The terminal is for pytest."""

    with served(DATA, Stalling) as web:
        async with observed(connection, SubmitRequest(url=f"{web}/{CLIP.name}", language="en", force=True)) as job:
            await job.until("progress.download")
            assert await asyncio.to_thread(asked.wait, PATIENCE)
            house.machine.kill("download")
            go.set()
            assert not job.count("downloaded")
            house.machine.start("download")
            await job.completes_as(undisturbed)


async def test_convert_is_killed_between_its_chunks(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a conversion that died leaves half a transcript, or repeats the half that it sent."""
    cut = await connection.client.subscribe("v2t.chunk.>")
    for n in itertools.count():  # the conversion may be over before it is stopped
        async with observed(connection, msgspec.structs.replace(clip, title=f"{clip.title} {n}")) as job:
            while job.id not in (await cut.next_msg(PATIENCE)).subject:
                pass  # chunks of the job before
            house.machine.signal("convert", signal.SIGSTOP)
            await job.until("chunk.0")
            if in_time := not job.count("converted"):
                house.machine.kill("convert")
                house.machine.start("convert")
            else:
                house.machine.signal("convert", signal.SIGCONT)
            await job.completes_as(undisturbed)
            if in_time:
                return


async def test_transcribe_is_killed_between_its_chunks(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a machine that goes down loses its chunks."""
    await pause(connection, "aggregate")  # the job is not done before it is struck, however late this process is
    async with observed(connection, clip) as job:
        await job.until("chunk.0")
        house.machine.kill("transcribe")
        assert not job.count("completed")
        house.machine.start("transcribe")
        await resumed(connection, "aggregate")
        await job.completes_as(undisturbed)


async def test_aggregate_is_killed_with_all_facts_in_hand(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a job whose last step died stays at 100 % for ever."""
    await killed(connection, "aggregate", house.machine)
    async with observed(connection, clip) as job:
        await job.until("converted")
        await in_hand(connection, "aggregate", house.machine)
        house.machine.kill("aggregate")
        assert not job.count("completed")
        house.machine.start("aggregate")
        await job.completes_as(undisturbed)


# -- the engine, the broker, everything


async def test_the_engine_is_killed(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a crash in native code costs a chunk, or the stage."""
    await pause(connection, "aggregate")
    async with observed(connection, clip) as job:
        await job.until("chunk.0")
        stage = house.machine.pid("transcribe")
        (engine,) = Path(f"/proc/{stage}/task/{stage}/children").read_text().split()
        os.kill(int(engine), signal.SIGKILL)
        assert not job.count("completed")
        await resumed(connection, "aggregate")
        await job.completes_as(undisturbed)
    assert house.machine.pid("transcribe") == stage


async def test_the_broker_is_killed(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a restart of the broker loses what was stored, or sends it twice."""
    await pause(connection, "aggregate")
    async with observed(connection, clip) as job:
        await job.until("converted")  # what is being put into the store at that moment would only wait longer
        house.server.kill()
        assert not job.count("completed")
        house.server.start()
        await resumed(connection, "aggregate")
        await job.completes_as(undisturbed)
    async with asyncio.timeout(PATIENCE):  # else nobody is seen to work any more
        await alive(connection)


async def test_stages_come_back_by_themselves_to_a_broker_that_was_away(
    house: House, connection: Connection, undisturbed: tuple[Segment, ...]
) -> None:
    """Else somebody must restart every machine after each maintenance of the broker."""
    pids = [house.machine.pid(stage) for stage in ALL_STAGES]
    house.server.stop()
    async with asyncio.timeout(PATIENCE):
        while connection.client.is_connected:
            await asyncio.sleep(0.01)
    house.server.start()
    async with await connect(house.server.url, name="next") as after:
        request = SubmitRequest(media=await upload(after, CLIP), language="en", force=True, title="after the outage")
        async with observed(after, request) as job:
            await job.completes_as(undisturbed)
    assert [house.machine.pid(stage) for stage in ALL_STAGES] == pids
    assert all(house.machine.is_running(stage) for stage in ALL_STAGES)


async def test_all_stages_are_restarted_in_the_middle(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else nobody can roll out an update while jobs run."""
    async with observed(connection, clip) as job:
        await job.until("chunk.0")
        for stage in ALL_STAGES:
            house.machine.signal(stage, signal.SIGTERM)
        codes = [await asyncio.to_thread(house.machine.wait, stage) for stage in ALL_STAGES]
        house.machine.start(*ALL_STAGES)
        await job.completes_as(undisturbed)
    assert codes == [0] * len(ALL_STAGES)


async def test_two_of_each_stage(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...], tmp_path: Path
) -> None:
    """Else two aggregators complete a job twice, or two nodes double its words."""
    with node(house.server.url, tmp_path, V2T_BATCH="1", V2T_NODE="second") as second:
        async with contextlib.AsyncExitStack() as stack:
            requests = [msgspec.structs.replace(clip, title=f"{clip.title} {n}") for n in range(3)]
            jobs = [await stack.enter_async_context(observed(connection, request)) for request in requests]
            for job in jobs:
                await job.completes_as(undisturbed)
        second.stop()
        assert not any(noise in second.log(stage) for noise in NOISE for stage in ALL_STAGES)


async def test_of_two_aggregators_either_is_killed(
    house: House,
    connection: Connection,
    clip: SubmitRequest,
    undisturbed: tuple[Segment, ...],
    *,
    tmp_path: Path,
    shown: Callable[[str, str], None],
) -> None:
    """Else nobody handles the dead one's facts, or both complete the job."""
    with node(house.server.url, tmp_path, "aggregate", V2T_NODE="second") as second:
        for victim, other in ((house.machine, second), (second, house.machine)):
            await killed(connection, "aggregate", victim, other)
            request = msgspec.structs.replace(clip, title=f"{clip.title} {victim.home}")
            async with observed(connection, request) as job:
                await job.until("converted")
                await in_hand(connection, "aggregate", victim, other)
                victim.kill("aggregate")
                other.signal("aggregate", signal.SIGCONT)
                await job.completes_as(undisturbed)
    shown("each of 2 aggregators killed with facts of a job in hand", "2 jobs completed, once each, as undisturbed")


async def test_everything_is_killed_at_once(
    house: House, connection: Connection, clip: SubmitRequest, undisturbed: tuple[Segment, ...]
) -> None:
    """Else a power cut loses running jobs."""
    async with observed(connection, clip) as job:
        await job.until("chunk.0")
        house.server.kill()
        for stage in ALL_STAGES:
            house.machine.kill(stage)
        house.server.start()
        house.machine.start(*ALL_STAGES)
        await job.completes_as(undisturbed)
