"""Streams and consumers of another release, or changed by hand: what happens to them and their messages."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.chunks import ChunkTask
from schemas.events import Completed
from schemas.message import Message
from stages.aggregate import Aggregate
from tests.builders import chunk, converted, done, downloaded, resources, submitted, task
from tests.harness import Server, broker
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.runtime.set_up import drifted, set_up, store_drifted
from v2t_stream.runtime.worker import Worker
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import pause, queues
from v2t_stream.topology.stages import NOTIFY, STAGES, stage_row
from v2t_stream.topology.streams import CHUNKS, DEAD, INBOX, JOBS, LAYOUT, STREAMS

DAY = 86_400 * 10**9  # ns


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with broker(tmp_path / "nats") as (_, connection):
        yield connection


async def config(connection: Connection, path: str) -> dict[str, Any]:
    kind = "CONSUMER" if "." in path else "STREAM"
    found: dict[str, Any] = (await connection.api(f"{kind}.INFO.{path}"))["config"]
    return found


async def change(connection: Connection, path: str, **fields: object) -> None:
    """Change it by hand."""
    changed = {**await config(connection, path), **fields}
    if "." in path:
        request = {"stream_name": path.split(".", maxsplit=1)[0], "config": changed}
        await connection.api(f"CONSUMER.CREATE.{path}", request)
    else:
        await connection.api(f"STREAM.UPDATE.{path}", changed)


async def older(connection: Connection, path: str, **fields: object) -> None:
    """A consumer as an older release might have made it."""
    made = {**await config(connection, path), **fields}
    await connection.api(f"CONSUMER.DELETE.{path}")
    kept = {field: value for field, value in made.items() if value is not None}
    await connection.api(f"CONSUMER.CREATE.{path}", {"stream_name": path.split(".", maxsplit=1)[0], "config": kept})


class Transcribing:
    """A transcriber that takes a moment."""

    row = stage_row("transcribe")._replace(slots=8)

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()

    async def process(self, message: ChunkTask) -> AsyncGenerator[Message]:
        self.asked[message.n] += 1
        await asyncio.sleep(0.02)
        yield done(message)

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def supervised(connection: Connection, stage: Any, home: Path) -> AsyncIterator[None]:
    """A worker that runs `stage`, restarted after errors, as the supervisor does."""
    settings = Settings(data_dir=str(home), node="here")
    stop = asyncio.Event()
    own = resources(connection, settings)

    async def run() -> None:
        while not stop.is_set():
            try:
                await Worker(stage, own).run(stop)
            except BrokerError:
                await asyncio.sleep(0.1)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        stop.set()
        await running


async def test_a_queue_of_an_older_release_is_brought_up_to_date_while_it_is_worked_on(
    connection: Connection, tmp_path: Path
) -> None:
    """Else an upgrade loses chunks that wait or are in progress, or stores their results twice."""
    await older(connection, f"{CHUNKS}.transcribe-any", filter_subject="v2t.chunk.any.*.*", ack_wait=7 * 10**9)
    await older(connection, f"{CHUNKS}.transcribe-cpu", filter_subject="v2t.chunk.cpu.*.*")
    await change(connection, JOBS, max_age=5 * DAY, subjects=["v2t.job.*.*", "v2t.job.*.chunk.*"])
    await change(connection, CHUNKS, max_msg_size=100_000)
    published: Counter[str] = Counter()
    stage = Transcribing()

    async def count() -> None:
        async for stored in connection.watch(JOBS, "v2t.job.*.chunk.*"):
            if stored:
                published[stored.subject] += 1

    counting = asyncio.create_task(count())
    for n in range(100):
        await connection.publish(task(n))
    async with supervised(connection, stage, tmp_path), asyncio.timeout(PATIENCE):
        while sum(stage.asked.values()) < 20:
            await asyncio.sleep(0.01)

        async def upgraded() -> int:
            await set_up(connection, Settings(), told=True)
            return len(stage.asked)

        upgrade = asyncio.create_task(upgraded())
        for n in range(100, 200):
            await connection.publish(task(n))
        assert await upgrade < 200, "the upgrade came too late to prove anything"
        while len(published) < 200 or (await connection.api(f"STREAM.INFO.{CHUNKS}"))["state"]["messages"]:
            await asyncio.sleep(0.02)
    counting.cancel()
    assert set(published.values()) == {1}
    assert set(stage.asked) == set(range(200))
    # Only what was in hand at the moment of the upgrade may have been begun again.
    assert sum(stage.asked.values()) <= 200 + 2 * stage.row.slots
    assert (await connection.api(f"STREAM.INFO.{DEAD}"))["state"]["messages"] == 0
    assert await drifted(connection, Settings()) == []


async def test_a_fact_that_an_older_consumer_did_not_take_is_taken_up(connection: Connection, tmp_path: Path) -> None:
    """Else a job that was stuck at the time of the upgrade stays stuck for ever."""
    await older(connection, f"{JOBS}.aggregate", filter_subject="v2t.job.*.chunk.*", filter_subjects=None)
    settings = Settings(data_dir=str(tmp_path))

    async def taken(count: int) -> None:
        while (await connection.api(f"CONSUMER.INFO.{JOBS}.aggregate"))["ack_floor"]["consumer_seq"] < count:
            await asyncio.sleep(0.02)

    async with supervised(connection, Aggregate(resources(connection, settings)), tmp_path), asyncio.timeout(PATIENCE):
        await connection.publish(submitted())
        await connection.publish(downloaded())
        await connection.publish(chunk(0, "words"))
        await taken(1)
        await connection.publish(converted())
        await connection.publish(chunk(job="other"))
        await taken(2)  # and with it the fact that it does not know of is behind it
        await set_up(connection, settings)
        while await connection.last(JOBS, Completed.subject_of(job="job")) is None:
            await asyncio.sleep(0.02)


async def test_existing_settings_stay_unless_the_user_asks(connection: Connection) -> None:
    """Else two nodes with different settings overwrite each other's at every start, and a paused queue resumes."""
    await change(connection, JOBS, max_age=5 * DAY, description="mine")
    await change(connection, f"{JOBS}.convert", ack_wait=7 * 10**9)
    await pause(connection, "download")
    await set_up(connection, Settings(facts_days=1, media_hours=1))
    assert (await config(connection, JOBS))["max_age"] == 5 * DAY
    assert (await config(connection, f"{JOBS}.convert"))["ack_wait"] == 7 * 10**9
    assert (await JetStreamStore(connection).lifetimes())["media"] == 72 * 3600
    assert [str(drift) for drift in await drifted(connection, Settings())] == [
        "stream V2T_JOBS: max_age is 5 d, should be 30 d",
        "consumer convert: ack_wait is 7 s, should be 30 s",
    ]

    told = Settings(facts_days=1, media_hours=1)
    await set_up(connection, told, told=True)
    assert await drifted(connection, told) == []
    assert (await config(connection, JOBS))["max_age"] == DAY
    assert (await config(connection, JOBS))["description"] == "mine"
    assert (await JetStreamStore(connection).lifetimes())["media"] == 3600
    assert [queue.name for queue in await queues(connection) if queue.paused] == ["download"]


async def test_an_older_set_up_gets_descriptions_without_harm(connection: Connection) -> None:
    """Else `nats stream ls` shows names that nobody can tell apart; or a consumer begins anew for its description."""
    consumer = f"{CHUNKS}.transcribe-any"
    await change(connection, CHUNKS, description="")
    await change(connection, consumer, description="")
    await change(connection, "OBJ_v2t_models", description="")
    await connection.publish(task(1))
    before = await connection.api(f"CONSUMER.INFO.{consumer}")
    await set_up(connection, Settings())
    assert (await config(connection, CHUNKS))["description"] == "chunks of speech that wait for an engine"
    assert (await config(connection, "OBJ_v2t_models"))["description"].startswith("models that")
    after = await connection.api(f"CONSUMER.INFO.{consumer}")
    assert after["config"]["description"] == "transcribe: writes down what is said in a chunk"
    assert (after["created"], after["num_pending"]) == (before["created"], 1)
    places = [*STREAMS, *(f"{row.stream}.{each.durable}" for row in STAGES for each in row.consumers)]
    assert all([(await config(connection, path))["description"] for path in places])


async def test_a_queue_that_is_made_anew_stays_paused(connection: Connection) -> None:
    """Else an upgrade releases work that its owner has paused."""
    await older(connection, f"{CHUNKS}.transcribe-any", filter_subject="v2t.chunk.any.*.*")
    await pause(connection, "transcribe-any")
    await set_up(connection, Settings())
    assert [queue.name for queue in await queues(connection) if queue.paused] == ["transcribe-any"]
    assert await drifted(connection, Settings()) == []


@pytest.mark.parametrize("told", [False, True])
async def test_a_stream_that_nats_cannot_change_is_refused_and_nothing_is_touched(
    connection: Connection, *, told: bool
) -> None:
    """Else an upgrade stops halfway, or discards what is in the stream."""
    await change(connection, INBOX, max_msg_size=1000)
    made = await config(connection, CHUNKS)
    await connection.api(f"STREAM.DELETE.{CHUNKS}")
    await connection.api(
        f"STREAM.CREATE.{CHUNKS}",
        {"name": CHUNKS, "subjects": made["subjects"], "retention": "limits", "storage": "file"},
    )
    await connection.publish(task(0))
    with pytest.raises(BrokerError, match=r"V2T_CHUNKS: retention is limits, should be workqueue; .* nats stream rm"):
        await set_up(connection, Settings(), told=told)
    assert (await config(connection, INBOX))["max_msg_size"] == 1000
    assert (await connection.api(f"STREAM.INFO.{CHUNKS}"))["state"]["messages"] == 1


async def test_an_older_release_leaves_alone_what_a_newer_has_set_up(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first old node that starts after an upgrade reverts it for all."""
    await change(connection, INBOX, max_msg_size=1000)
    metadata = (await config(connection, JOBS))["metadata"]
    await change(connection, JOBS, metadata={**metadata, "v2t_layout": str(LAYOUT + 1)})
    await set_up(connection, Settings())
    assert (await config(connection, INBOX))["max_msg_size"] == 1000
    with pytest.raises(BrokerError, match=r"newer release .*: update v2t-stream on this machine"):
        await set_up(connection, Settings(), told=True)


async def test_what_is_missing_is_made_and_all_is_as_it_should_be_at_once(tmp_path: Path) -> None:
    """Else doctor finds faults in a broker that was just set up, or none in one that was not."""
    server = Server(tmp_path)
    server.start()
    try:
        async with await connect(server.url, name="test") as connection:
            missing = await drifted(connection, Settings())
            consumers = sum(len(row.consumers) for row in (*STAGES, NOTIFY))
            assert len(missing) == len(STREAMS) + consumers
            store = JetStreamStore(connection)
            assert [str(one) for one in await store_drifted(store, Settings())] == [
                "bucket media is missing",
                "bucket transcripts is missing",
                "bucket models is missing",
                "bucket voices is missing",
                "bucket media/uploads is missing",
            ]
            assert {str(drift).rpartition(" is ")[2] for drift in missing} == {"missing"}
            await set_up(connection, Settings())
            assert await drifted(connection, Settings()) == []
            assert await store_drifted(store, Settings()) == []
    finally:
        server.stop()
