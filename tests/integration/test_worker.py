"""The worker with small stages of the test's own, on a real nats-server: every way in which a message can end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from nats.aio.msg import Msg

from schemas.chunks import ChunkTask
from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    DeadLetter,
    Downloaded,
    Failed,
    Language,
    Progress,
)
from schemas.message import Message
from schemas.transcript import Gap, Transcript
from stages.aggregate import Aggregate
from tests.builders import completed, converted, done, downloaded, failed, rerun, resources, submitted, task
from tests.harness import Server, set_ack_wait
from tests.observed import pulled, pulled_by
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.errors import BrokerError, Full, Hung, Reject, Retry, StoreAway, Unready, V2TError
from v2t_stream.fleet.presence import Presence, tell
from v2t_stream.runtime.delivery import Delivery, Desk
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.results import Settled
from v2t_stream.runtime.stage import Resources, Stage, Submission
from v2t_stream.runtime.worker import DEFAULT, Worker
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.stages import StageRow, stage_row
from v2t_stream.topology.streams import CHUNKS, DEAD, INBOX, JOBS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT

Do = Callable[[Any], AsyncGenerator[Message, bool | None]]
Fact = TypeVar("Fact", bound=Message)


class Doing:
    """A stage that does what the test says."""

    def __init__(self, do: Do, row: StageRow | None = None, **changes: object) -> None:
        self.row = (row or stage_row("transcribe"))._replace(**changes)  # type: ignore[arg-type]
        if self.row.name == "transcribe":
            only = tuple(consumer for consumer in self.row.consumers if consumer.durable == "transcribe-any")
            self.row = self.row._replace(consumers=only)
        self._do = do
        self.asked: list[Any] = []
        self.closed = False

    def process(self, message: Any) -> AsyncGenerator[Message, bool | None]:
        self.asked.append(message)
        return self._do(message)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


@contextlib.asynccontextmanager
async def working(
    connection: Connection, stage: Stage, tmp_path: Path, patience: Patience = DEFAULT
) -> AsyncIterator[asyncio.Event]:
    """A worker that runs `stage` until the block ends, or the event it gives is set."""
    settings = Settings(data_dir=str(tmp_path), node="here")
    stop = asyncio.Event()
    running = asyncio.create_task(Worker(stage, resources(connection, settings), patience).run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await running


async def until(condition: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.005)


async def fact(connection: Connection, message: type[Fact], **names: object) -> Fact:
    """Wait for the fact."""
    subject = message.subject_of(**{"job": "job", **names})
    async with asyncio.timeout(PATIENCE):
        while (stored := await connection.last(JOBS, subject)) is None:
            await asyncio.sleep(0.01)
    return msgspec.json.decode(stored.data, type=message)


async def drained(connection: Connection, stream: str = CHUNKS, left: int = 0) -> None:
    """Wait until the work queue is empty, or holds only the given number of messages."""
    async with asyncio.timeout(PATIENCE):
        while await connection.messages(stream) != left:
            await asyncio.sleep(0.01)


async def letters(connection: Connection) -> list[DeadLetter]:
    found = [stored async for stored in connection.watch(DEAD, "v2t.dead.>", live=False) if stored]
    return [msgspec.json.decode(stored.data, type=DeadLetter) for stored in found]


async def transcribing(task: ChunkTask) -> AsyncGenerator[Message]:
    yield done(task)


def raising(*errors: BaseException, then: Do | None = None) -> Do:
    """Raise these in order, then do the work, or `then`."""
    left = list(errors)

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        if left:
            raise left.pop(0)
        async for result in (then or transcribing)(task):
            yield result

    return do


# -- the ways in which a message ends


async def test_work_done_is_published_and_acked(connection: Connection, tmp_path: Path) -> None:
    """Else no work is ever done, or all of it twice."""
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path):
        for n in range(5):
            await connection.publish(task(n))
        assert (await fact(connection, ChunkDone, n=4)).segments[0].text == "words 4"
        await drained(connection)
    assert sorted(each.n for each in stage.asked) == [0, 1, 2, 3, 4]
    assert stage.closed
    assert await letters(connection) == []


async def test_retry_comes_again_after_its_delay(connection: Connection, tmp_path: Path) -> None:
    """Else a site that asks to be left alone for a while is hammered, or never asked again."""
    times = []
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 3600)

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Retry("not now", delay=0.7)
        yield done(task)

    async with working(connection, Doing(do), tmp_path):
        await connection.publish(task())
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
    assert times[1] - times[0] > 0.65


async def test_reject_is_a_dead_letter_and_a_gap(connection: Connection, tmp_path: Path) -> None:
    """Else one bad chunk costs the whole transcript, or blocks the queue for ever."""
    stage = Doing(raising(Reject("it is poison")))
    async with working(connection, stage, tmp_path):
        await connection.publish(task(7))
        assert (await fact(connection, ChunkDone, n=7)).error == "it is poison"
        await drained(connection)
    (letter,) = await letters(connection)
    assert (letter.stage, letter.reason, letter.job, letter.deliveries, letter.node) == (
        "transcribe",
        "it is poison",
        "job",
        1,
        "here",
    )
    assert letter.original_subject == "v2t.chunk.any.job.7"
    assert msgspec.json.decode(letter.data, type=ChunkTask) == task(7)  # it can be sent again as it was
    assert len(stage.asked) == 1


async def test_reject_of_another_stage_fails_the_job(connection: Connection, tmp_path: Path) -> None:
    """Else a dead link shows as waiting for ever."""

    async def do(_: Submission) -> AsyncGenerator[Message]:
        raise Reject("there is no such video")
        yield

    async with working(connection, Doing(do, stage_row("intake")), tmp_path):
        await connection.client.request(SUBMIT_SUBJECT, b"http://127.0.0.1/x", timeout=PATIENCE)
        await drained(connection, INBOX)
    (letter,) = await letters(connection)
    failed = await fact(connection, Failed, job=letter.job)
    assert (failed.stage, failed.reason) == ("intake", "there is no such video")
    assert letter.data == b"http://127.0.0.1/x"


async def test_a_bug_is_retried_and_then_given_up_with_its_last_reason(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a bug in a stage ends the worker, or repeats for ever."""
    patience = Patience(backoff=(0.01,))
    stage = Doing(raising(KeyError("first"), OSError("second"), ValueError("last")), tries=3)
    async with working(connection, stage, tmp_path, patience):
        await connection.publish(task())
        assert (await fact(connection, ChunkDone, n=0)).error == "ValueError: last (given up after 3 tries)"
        await drained(connection)
        await connection.publish(task(1))
        assert not (await fact(connection, ChunkDone, n=1)).error
    (letter,) = await letters(connection)
    assert letter.deliveries == 3
    assert len([each for each in stage.asked if each.n == 0]) == 3
    assert "KeyError: 'first'" in caplog.text


@pytest.mark.parametrize("kind", [Unready, Full])
async def test_what_is_on_its_way_or_taken_is_no_try(
    connection: Connection, tmp_path: Path, kind: type[V2TError]
) -> None:
    """Else an hour of fetching a model, or a game on the GPU, fails every job."""
    patience = Patience(backoff=(0.01,))
    stage = Doing(raising(*[kind("away")] * 3), tries=2)
    async with working(connection, stage, tmp_path, patience):
        await connection.publish(task())
        assert not (await fact(connection, ChunkDone, n=0)).error
    patience = patience._replace(waits=3)
    async with working(connection, Doing(raising(*[kind("away")] * 3), tries=2), tmp_path, patience):
        await connection.publish(task(1))
        assert (await fact(connection, ChunkDone, n=1)).error == "away (given up after 3 tries)"


@pytest.mark.parametrize("away", [0.0, 600.0], ids=["given back", "kept"])
async def test_a_store_that_is_away_fails_nothing_however_long(
    connection: Connection, tmp_path: Path, away: float
) -> None:
    """Else a night's outage of the store fails every job, or uses up all tries but one."""
    patience = Patience(store_pauses=(0.001,), store_away=away, backoff=(0.01,))
    outage = [StoreAway("away") for _ in range(50)]
    stage = Doing(raising(*outage, ValueError("a fault of its own")), tries=4)
    async with working(connection, stage, tmp_path, patience):
        await connection.publish(task())
        assert not (await fact(connection, ChunkDone, n=0)).error
        await drained(connection)
    assert len(stage.asked) == 52
    assert not await letters(connection)


async def test_what_cannot_be_read_stops_nothing_else(connection: Connection, tmp_path: Path) -> None:
    """Else one malformed message blocks a queue."""
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path, Patience(foreign=0.01)):
        for n, data in enumerate(
            (b'{"type": "chunk-task", "job": 5', b'{"type": "chunk-task", "job": "bad"}', b"\xff")
        ):
            await connection.client.request(f"v2t.chunk.any.bad.{n}", data, timeout=PATIENCE)
        await connection.publish(task())
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
        assert "cannot be read" in (await fact(connection, Failed, job="bad")).reason
    assert len(stage.asked) == 1
    assert {letter.original_subject for letter in await letters(connection)} == {
        f"v2t.chunk.any.bad.{n}" for n in range(3)
    }


async def _hang(_: Any) -> AsyncGenerator[Message]:
    await asyncio.Event().wait()
    yield


MORTAL = Patience(backoff=(0.01,), drain=0.01)  # of workers that end at once


class Mortal(Worker):
    """Remembers the reply subjects of its messages."""

    def __init__(self, stage: Stage, resources: Resources) -> None:
        super().__init__(stage, resources, MORTAL)
        self.replies: list[str] = []

    def _begin(self, message: Msg, desk: Desk) -> None:
        self.replies.append(message.reply)
        super()._begin(message, desk)


async def dies(
    server: Server,
    connection: Connection,
    tmp_path: Path,
    begun: Callable[[Presence, Doing], bool] = lambda _, stage: bool(stage.asked),
    slots: int = 1,
) -> list[int]:
    """Let a worker die during work as soon as `begun` accepts; returns the chunks that its stage had begun.

    Its connection ends before it does, so that nothing of what it would still say reaches the broker. A nak stands for
    the end of ack_wait: to the next worker it is the same, and nothing comes again by the clock.
    """
    stage, presence, stop = Doing(_hang, slots=slots), Presence("here", "test"), asyncio.Event()
    async with await connect(server.url, name="dying") as other:
        worker = Mortal(stage, resources(other, presence=presence))
        running = asyncio.create_task(worker.run(stop))
        await until(lambda: begun(presence, stage), "no message came")
        await other.client.close()
        stop.set()
        await running
    for reply in worker.replies:
        await connection.client.publish(reply, b"-NAK")
    return [each.n for each in stage.asked]


@pytest.fixture
async def mortal(nats: tuple[Server, Connection]) -> Server:
    """A broker that redelivers nothing by itself."""
    await set_ack_wait(nats[1], CHUNKS, "transcribe-any", 3600)
    return nats[0]


async def test_what_kills_its_worker_three_times_is_given_up(
    mortal: Server, connection: Connection, tmp_path: Path
) -> None:
    """Else a file that crashes the process does so for ever, on one machine after another."""
    await connection.publish(task())
    for _ in range(3):
        assert await dies(mortal, connection, tmp_path) == [0]
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path, MORTAL):
        assert "crashed 3 times" in (await fact(connection, ChunkDone, n=0)).error
        await drained(connection)
    assert stage.asked == []
    (letter,) = await letters(connection)
    assert letter.deliveries == 4


async def test_a_living_worker_counts_as_no_death(mortal: Server, connection: Connection, tmp_path: Path) -> None:
    """Else three network hiccups give up a long download that is still running."""
    await connection.publish(task())
    alive = Presence("there", "transcribe", since={task().subject: time.monotonic()})
    for _ in range(4):
        await tell(connection, alive.info())  # it is believed for longer than this takes
        await dies(mortal, connection, tmp_path)
    async with working(connection, Doing(transcribing), tmp_path, MORTAL):
        assert not (await fact(connection, ChunkDone, n=0)).error


async def test_failures_after_deaths_have_all_their_tries(
    mortal: Server, connection: Connection, tmp_path: Path
) -> None:
    """Else two machine restarts and one hiccup of a site fail a download that would have worked on the next try."""
    await connection.publish(task())
    for _ in range(2):
        await dies(mortal, connection, tmp_path)
    stage = Doing(raising(OSError("first"), OSError("second")), tries=3)
    async with working(connection, stage, tmp_path, MORTAL):
        assert not (await fact(connection, ChunkDone, n=0)).error
        await drained(connection)
    assert len(stage.asked) == 3


async def test_a_death_after_failures_takes_none_of_their_tries_away(
    mortal: Server, connection: Connection, tmp_path: Path
) -> None:
    """Else a site that hiccups twice and a machine that restarts fail a job."""
    await connection.publish(task())
    failing = Doing(raising(OSError("first"), Unready("on its way"), then=_hang), tries=3)
    async with working(connection, failing, tmp_path, MORTAL):
        await until(lambda: len(failing.asked) == 3, "it is not tried again")
    await dies(mortal, connection, tmp_path)
    stage = Doing(raising(OSError("second")), tries=3)
    async with working(connection, stage, tmp_path, MORTAL):
        assert not (await fact(connection, ChunkDone, n=0)).error


async def test_what_stops_give_back_is_no_death(mortal: Server, connection: Connection, tmp_path: Path) -> None:
    """Else a fleet update, which interrupts a long download on each machine in turn, gives it up."""
    await connection.publish(task())
    for _ in range(5):
        stage = Doing(_hang, slots=1)
        async with working(connection, stage, tmp_path, MORTAL):
            await until(lambda stage=stage: stage.asked, "it does not come again")  # type: ignore[misc]  # bound at once
    async with working(connection, Doing(transcribing), tmp_path, MORTAL):
        assert not (await fact(connection, ChunkDone, n=0)).error


async def test_messages_beside_the_one_that_kills_are_not_blamed(
    mortal: Server, connection: Connection, tmp_path: Path
) -> None:
    """Else one poisonous file takes down everything that a machine works on beside it."""
    await connection.publish(task(0))
    await connection.publish(task(1))
    for _ in range(2):
        both = await dies(mortal, connection, tmp_path, lambda _, stage: len(stage.asked) == 2, slots=2)
        assert sorted(both) == [0, 1]

    def has_begun_one(presence: Presence, stage: Doing) -> bool:
        return len(presence.since) == 2 and len(stage.asked) == 1

    (killer,) = await dies(mortal, connection, tmp_path, has_begun_one, slots=2)
    async with working(connection, Doing(transcribing), tmp_path, MORTAL):
        errors = {n: (await fact(connection, ChunkDone, n=n)).error for n in range(2)}
    assert "3 times" in errors.pop(killer)
    assert list(errors.values()) == [""]


async def test_tries_are_kept_only_of_what_needs_several(connection: Connection, tmp_path: Path) -> None:
    """Else each of a million chunks costs two more messages."""
    async with working(connection, Doing(transcribing), tmp_path):
        await connection.publish(task())
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
    assert await connection.subjects(JOBS, "v2t.job.*.tries.>") == []


async def test_a_chunk_given_up_is_a_gap_in_a_transcript_that_completes(connection: Connection, tmp_path: Path) -> None:
    """Else one poison chunk of a hundred leaves the user with nothing."""

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        if task.n == 1:
            raise Reject("it is poison")
        yield done(task)

    await connection.publish(submitted())
    await connection.publish(downloaded())
    store = JetStreamStore(connection)
    aggregate = Aggregate(resources(connection))
    async with working(connection, Doing(do), tmp_path), working(connection, aggregate, tmp_path):
        for n in range(3):
            await connection.publish(task(n))
        await connection.publish(converted(chunks=3))
        assert (await fact(connection, Completed)).gaps == 1
    transcript = msgspec.json.decode(await store.get("transcripts/job/transcript.json"), type=Transcript)
    assert [segment.text for segment in transcript.segments] == ["words 0", "words 2"]
    assert transcript.gaps == (Gap(chunk=1, start=1, end=2, reason="it is poison"),)


@pytest.mark.parametrize(
    "end",
    [
        Cancelled(job="job"),
        failed(),
        rerun(submitted()),
    ],
)
async def test_work_for_a_run_that_ended_or_was_left_is_acked_without_work(
    end: Message, connection: Connection, tmp_path: Path
) -> None:
    """Else a cancelled job keeps all machines busy, or its retry waits for the work it left behind."""
    await connection.publish(end)
    for n in range(3):
        await connection.publish(task(n))
    await connection.publish(task(job="other"))
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path):
        await fact(connection, ChunkDone, job="other", n=0)
        await drained(connection)
    assert [each.job for each in stage.asked] == ["other"]


async def test_a_newer_release_s_message_is_no_trouble(connection: Connection, tmp_path: Path) -> None:
    """Else nodes cannot be updated one after another."""
    newer = msgspec.json.decode(msgspec.json.encode(task())) | {"mood": "new"}
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path):
        await connection.client.request("v2t.chunk.any.job.0", msgspec.json.encode(newer), timeout=PATIENCE)
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
    assert stage.asked == [task()]
    assert await letters(connection) == []


# -- long work, hung work, much work


async def test_long_work_is_not_given_to_another(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else everything that takes longer than half a minute is repeated again and again.

    The workers believe in a short ack_wait, so that they are seen to tell in time; the server's own is longer than
    this process ever stands still.
    """
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 0.3)
    told = await connection.client.subscribe(f"$JS.ACK.{CHUNKS}.transcribe-any.>")

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        for _ in range(3):
            assert (await told.next_msg(PATIENCE)).data == b"+WPI"
        yield done(task)

    here, there = Doing(do), Doing(do)
    async with (
        await connect(nats[0].url, name="there") as other,
        working(connection, here, tmp_path),
        working(other, there, tmp_path),
    ):
        await pulled_by(connection, "transcribe", 2)  # and so they have asked for ack_wait
        await set_ack_wait(connection, CHUNKS, "transcribe-any", 30)
        await connection.publish(task())
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
    assert len(here.asked + there.asked) == 1


async def test_work_of_a_worker_whose_loop_stands_still_goes_to_another(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else a process that hangs keeps its chunk for ever."""
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 0.3)
    await connection.publish(task())
    async with (
        await connect(nats[0].url, name="hung") as hung,
        Puller(hung.client, CHUNKS, "transcribe-any", group="any") as puller,
    ):
        message = await pulled(puller)
        await message.in_progress()  # and then nothing more
        async with working(connection, Doing(transcribing), tmp_path):
            await fact(connection, ChunkDone, n=0)
            await drained(connection)
        await message.ack_sync(timeout=int(PATIENCE))  # too late, and harmless


async def test_a_stage_that_hangs_is_ended(connection: Connection, tmp_path: Path) -> None:
    """Else work that never ends occupies a slot for ever."""
    patience = Patience(backoff=(0.01,))
    ended = []

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        if task.n == 0:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(task.n)
        yield done(task)

    async with working(connection, Doing(do, max_run=0.3, slots=1, tries=2), tmp_path, patience):
        await connection.publish(task(0))
        await connection.publish(task(1))
        await fact(connection, ChunkDone, n=1)
        assert "took longer than 0.3 s" in (await fact(connection, ChunkDone, n=0)).error
        await drained(connection)
    assert ended == [0, 0]


async def test_a_thread_that_does_not_come_back_ends_the_stage(connection: Connection, tmp_path: Path) -> None:
    """Else one broken file that makes a library hang occupies a slot for ever, and a stop waits for it for ever."""
    patience = Patience(hung=0.1, leave=0.1, drain=1.0)
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 0.3)
    forever = asyncio.Event()

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        try:
            await forever.wait()
        finally:
            await forever.wait()
        yield done(task)

    stage = Doing(do, max_run=0.3, slots=1)
    await connection.publish(task())
    with pytest.raises(Hung, match="does not stop: the stage ends without it"):
        await Worker(stage, resources(connection), patience).run(asyncio.Event())
    forever.set()
    async with working(connection, Doing(transcribing), tmp_path):
        await fact(connection, ChunkDone, n=0)


async def test_slots_bound_what_is_in_work(connection: Connection, tmp_path: Path) -> None:
    """Else one node pulls a whole film while the others are idle, or fills its memory."""
    at_once = most = 0
    go = asyncio.Event()

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go.wait()
        await asyncio.sleep(0.05)
        at_once -= 1
        yield done(task)

    for n in range(12):
        await connection.publish(task(n))
    async with working(connection, Doing(do, slots=3), tmp_path):
        await until(lambda: at_once == 3, "the slots are never all in use")
        await pulled_by(connection, "transcribe", 0)
        info = await connection.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-any")
        assert info["num_ack_pending"] == 3
        go.set()
        await drained(connection)
    assert most == 3


# -- stopping


async def test_a_stop_finishes_work_in_hand_and_takes_nothing_new(connection: Connection, tmp_path: Path) -> None:
    """Else an update of a node throws away what was nearly done."""
    go = asyncio.Event()

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        await go.wait()
        yield done(task)

    for n in range(3):
        await connection.publish(task(n))
    stage = Doing(do, slots=1)
    async with working(connection, stage, tmp_path) as stop:
        await until(lambda: stage.asked, "no message came")
        stop.set()
        go.set()
    assert len(stage.asked) == 1
    assert await connection.last(JOBS, f"v2t.job.job.chunk.{stage.asked[0].n}")
    await drained(connection, left=2)


async def test_stop_gives_back_what_takes_too_long(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else a node that shuts down holds its work for another half minute."""
    patience = Patience(drain=0.3)
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 3600)

    async def hang(_: ChunkTask) -> AsyncGenerator[Message]:
        await asyncio.Event().wait()
        yield

    stage = Doing(hang, slots=2)
    async with (
        await connect(nats[0].url, name="leaving") as leaving,
        working(leaving, stage, tmp_path, patience) as stop,
    ):
        await connection.publish(task(0))
        await connection.publish(task(1))
        await until(lambda: len(stage.asked) == 2, "no message came")
        stop.set()
    assert stage.closed
    async with working(connection, Doing(transcribing), tmp_path):
        for n in range(2):
            await fact(connection, ChunkDone, n=n)
        await drained(connection)


# -- what a stage may rely on


async def test_what_a_stage_yields_is_stored_before_it_goes_on(connection: Connection, tmp_path: Path) -> None:
    """Else a stage removes the input of a result before the result is stored, and both are lost."""
    stored = []

    async def do(task: ChunkTask) -> AsyncGenerator[Message, bool | None]:
        yield Language(job="job", language="en")
        stored.append(await connection.last(JOBS, Language.subject_of(job="job")))
        yield done(task)
        stored.append(await connection.last(JOBS, ChunkDone.subject_of(job="job", n=0)))

    async with working(connection, Doing(do), tmp_path):
        await connection.publish(task())
        await until(lambda: len(stored) == 2, "it does not go on")
    assert all(stored)


async def test_a_stage_learns_whether_what_it_yields_stands(connection: Connection, tmp_path: Path) -> None:
    """Else two machines each use the language that they detected, and a transcript has two."""
    heard = {}

    async def do(task: ChunkTask) -> AsyncGenerator[Message, bool | None]:
        heard[task.n] = yield Language(job="job", language=f"language {task.n}")
        yield done(task)

    async with working(connection, Doing(do, slots=1), tmp_path):
        for n in range(3):
            await connection.publish(task(n))
            await fact(connection, ChunkDone, n=n)
    assert heard == {0: True, 1: False, 2: False}


async def test_work_ends_where_its_run_was_ended_by_somebody_else(connection: Connection, tmp_path: Path) -> None:
    """Else a machine that slept while another one finished keeps working for nothing."""
    went_on = False

    async def do(_: Converted) -> AsyncGenerator[Message, bool | None]:
        nonlocal went_on
        await connection.publish(completed(transcript="transcripts/job/by-somebody-else"))
        yield completed()
        went_on = True

    await connection.publish(converted())
    async with working(connection, Doing(do, stage_row("aggregate")), tmp_path):
        async with asyncio.timeout(PATIENCE):
            while (await connection.api(f"CONSUMER.INFO.{JOBS}.aggregate"))["ack_floor"]["stream_seq"] < 1:
                await asyncio.sleep(0.01)
    assert not went_on
    assert (await fact(connection, Completed)).transcript == "transcripts/job/by-somebody-else"
    assert await letters(connection) == []


async def test_work_done_again_that_comes_second_is_no_fault(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each chunk that a slow node finishes after all puts a warning into the log of the node that helped."""

    async def do(task: ChunkTask) -> AsyncGenerator[Message, bool | None]:
        await connection.publish(done(task))  # as the slower node does
        yield done(task)

    presence = Presence("here", "test")
    worker = Worker(Doing(do), resources(connection, presence=presence))
    assert await worker.do_again(task().subject, task())
    assert presence.tally.outcomes == {"helped": 1}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


# -- deaths in between


async def test_a_death_between_result_and_ack_is_harmless(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash at the worst moment doubles a chunk's words, or transcribes it twice."""
    acks = 0
    really = Delivery._ack

    async def dying_ack(delivery: Delivery) -> None:
        nonlocal acks
        acks += 1
        if acks > 1:
            await really(delivery)
        else:
            await delivery._message.nak()  # it comes again as after a death

    monkeypatch.setattr(Delivery, "_ack", dying_ack)
    stage = Doing(transcribing)
    async with working(connection, stage, tmp_path):
        await connection.publish(task())
        await drained(connection)
    assert acks == 2
    assert len(stage.asked) == 1  # its result stood already


async def test_a_death_between_results_repeats_what_is_idempotent(connection: Connection, tmp_path: Path) -> None:
    """Else a conversion that died halfway sends its first chunks twice."""
    patience = Patience(backoff=(0.01,))
    await set_ack_wait(connection, JOBS, "convert", 3600)
    attempts = 0

    async def do(media: Downloaded) -> AsyncGenerator[Message]:
        nonlocal attempts
        attempts += 1
        for n in range(4):
            yield task(n)
            yield Progress(job="job", stage="convert", done=n, chunks=n + 1)
            if attempts == 1 and n == 2:
                raise OSError("the disk is gone")
        yield converted(chunks=4)

    await connection.publish(downloaded())
    async with working(connection, Doing(do, stage_row("convert")), tmp_path, patience):
        assert (await fact(connection, Converted)).chunks == 4
    assert attempts == 2
    assert await connection.messages(CHUNKS) == 4


@pytest.mark.parametrize(
    ("deaths", "death"),
    [
        ((DeadLetter, ChunkDone), asyncio.CancelledError()),  # as if the process ended there
        ((ChunkDone,), BrokerError("the server is away")),
    ],
    ids=["process", "broker"],
)
async def test_a_death_while_giving_up_loses_nothing(
    deaths: tuple[type[Message], ...],
    death: BaseException,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a message vanishes without a dead letter or has two, or a job hangs without its fact."""
    real = Connection.publish
    left = list(deaths)

    async def dying(self: Connection, message: Message, **options: Any) -> bool:
        if left and isinstance(message, left[0]):
            left.pop(0)
            raise death
        return await real(self, message, **options)

    async def rejecting(_: ChunkTask) -> AsyncGenerator[Message]:
        raise Reject("poison")
        yield

    monkeypatch.setattr(Connection, "publish", dying)
    stage = Doing(rejecting)
    async with working(connection, stage, tmp_path):
        await real(connection, task())
        assert (await fact(connection, ChunkDone, n=0)).error == "poison"
        await drained(connection)
    assert len(stage.asked) == len(deaths) + 1
    assert [letter.reason for letter in await letters(connection)] == ["poison"]


async def test_the_broker_s_death_in_the_middle_of_work(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else a restart of the broker loses current work, or fails it."""
    server, _ = nats
    in_work, go = asyncio.Event(), asyncio.Event()

    async def do(task: ChunkTask) -> AsyncGenerator[Message]:
        in_work.set()
        await go.wait()
        yield done(task)

    await connection.publish(task())
    async with working(connection, Doing(do), tmp_path):
        await in_work.wait()
        server.kill()
        await until(lambda: not connection.client.is_connected, "the loss is not noticed")
        go.set()
        await asyncio.to_thread(server.start)
        await fact(connection, ChunkDone, n=0)
        await drained(connection)
    assert await letters(connection) == []


async def test_an_ack_that_is_lost_fails_no_job(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an outage right after the last permitted try fails a job whose work was done."""
    server, _ = nats
    await set_ack_wait(connection, CHUNKS, "transcribe-any", 3)
    stage = Doing(transcribing, tries=1)
    real = Connection.publish
    killed = asyncio.Event()

    async def publish(self: Connection, message: Message, **options: Any) -> bool:
        stored = await real(self, message, **options)
        if isinstance(message, ChunkDone) and not message.error and not killed.is_set():
            server.kill()
            killed.set()
        return stored

    monkeypatch.setattr(Connection, "publish", publish)
    await real(connection, task())
    async with working(connection, stage, tmp_path):
        await asyncio.wait_for(killed.wait(), PATIENCE)
        await asyncio.to_thread(server.start)
        await drained(connection)
    assert await letters(connection) == []
    assert not (await fact(connection, ChunkDone, n=0)).error


async def test_questions_asked_together_are_answered_each(connection: Connection) -> None:
    """Else in a burst a finished chunk is redone, or an unfinished one is thrown away."""
    await connection.publish(done(task(3)))
    settled = Settled(connection)
    subjects = [[ChunkDone.subject_of(job="job", n=n), Failed.subject_of(job="job")] for n in range(10)]
    asked = [asyncio.create_task(settled.any_of(each)) for each in subjects]
    await asyncio.sleep(0)
    asked[5].cancel()  # as a chunk whose job is cancelled
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(5), asyncio.CancelledError)
    assert answers == [n == 3 for n in range(9)]
    assert await settled.any_of(subjects[3])
    await connection.close()
    with pytest.raises(BrokerError):
        await settled.any_of(subjects[3])


async def test_a_completion_that_comes_between_two_looks_is_the_only_one(
    connection: Connection, tmp_path: Path
) -> None:
    """Else the second of two aggregators builds on the first one's completion and adds its own."""
    await connection.publish(submitted())
    await connection.publish(done(task()))
    await connection.publish(converted())
    first, second = (Aggregate(resources(connection)) for _ in range(2))
    async for end in first.process(converted()):
        assert await connection.publish(end)
    assert [end async for end in second.process(done(task()))] == []


async def test_an_aggregator_that_dies_while_it_stores_is_replaced(connection: Connection, tmp_path: Path) -> None:
    """Else a job whose last step died stays at 100 % for ever."""
    await set_ack_wait(connection, JOBS, "aggregate", 0.3)
    await connection.publish(submitted())
    await connection.publish(downloaded())
    puts = 0

    class Dying(JetStreamStore):
        async def put(self, key: str, data: bytes) -> None:
            nonlocal puts
            puts += 1
            if puts == 3:
                raise asyncio.CancelledError  # as if the process ended here
            await super().put(key, data)

    aggregate = Aggregate(resources(connection, store=Dying(connection)))
    async with working(connection, aggregate, tmp_path):
        for n in range(3):
            await connection.publish(done(task(n)))
        await connection.publish(converted(chunks=3))
        assert (await fact(connection, Completed)).segments == 3
    assert puts > 3


# -- the connection's end, and the queue's


async def test_a_worker_ends_when_its_queue_is_gone(connection: Connection, tmp_path: Path) -> None:
    """Else, after the broker's disk was replaced, a stage waits for ever at a queue that no longer exists."""
    stage = Doing(transcribing)
    running = asyncio.create_task(Worker(stage, resources(connection)).run(asyncio.Event()))
    await connection.publish(task())
    await fact(connection, ChunkDone, n=0)
    await connection.api(f"STREAM.DELETE.{CHUNKS}")
    with pytest.raises(Exception, match=r"cannot pull work|not found"):
        await asyncio.wait_for(running, PATIENCE)
    assert stage.closed


async def test_a_worker_ends_when_its_connection_was_ended(
    nats: tuple[Server, Connection], connection: Connection, tmp_path: Path
) -> None:
    """Else a stage that the server disconnected becomes a process that does nothing, and nobody restarts it."""
    stage = Doing(transcribing)
    async with await connect(nats[0].url, name="sent away") as other:
        running = asyncio.create_task(Worker(stage, resources(other)).run(asyncio.Event()))
        await connection.publish(task())
        await fact(connection, ChunkDone, n=0)
        await other.client._process_err("'authentication timeout'")  # what nats-py does at such a line of the server
        with pytest.raises(Exception, match=r"for good|closed"):
            await asyncio.wait_for(running, PATIENCE)
    assert stage.closed
