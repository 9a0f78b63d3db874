"""Retries, while work that began before them goes on.

Who sleeps here is a real stage whose object store does not answer until the test lets it. Its results are then
published as its worker would, which would also tell it that they are of no use any more: here it never hears of that.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.events import ChunkDone, Done, Retried
from schemas.message import Message, encode
from schemas.objects import Version
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from stages.aggregate import Aggregate
from stages.convert import Convert
from tests.builders import chunk, completed, converted, downloaded, process, rerun, resources, submitted
from tests.harness import DATA, Server, Simulated, ended, node, simulated, until, upload
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.fleet.presence import fleet
from v2t_stream.host.tasks import end
from v2t_stream.jobs import operations, previous
from v2t_stream.jobs.assembly import last_prefix, stored
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import history, read
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.submission import submit
from v2t_stream.jobs.superseded import sweep_superseded
from v2t_stream.monitoring.survey import jobs_by_state
from v2t_stream.runtime.stage import Stage
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import Found
from v2t_stream.topology.queues import pause, resume
from v2t_stream.topology.streams import CHUNKS, JOBS

OLD, NEW, OTHER = "sim/x1000", "sim/x900", "sim/x800"
_COUNT = itertools.count()


class OnS3(JetStreamStore):
    """A store whose buckets hold an upload unchanged, as on an S3 server."""

    async def look(self, key: str, version: Version | None = None) -> Found | None:
        return Found(1, version or Version(etag="e"), {})

    async def tags(self, key: str, version: Version | None = None) -> dict[str, str]:
        return {}

    async def put_new(self, key: str, data: bytes) -> bool:
        if await self.size(key) is not None:
            return False
        await self.put(key, data)
        return True


class Sleepy(OnS3):
    """Stores the first object whose key ends with this, then sleeps until woken."""

    def __init__(self, connection: Connection, at: str) -> None:
        super().__init__(connection)
        self._at = at
        self.asleep = asyncio.Event()
        self.awake = asyncio.Event()

    async def put(self, key: str, data: bytes) -> None:
        await super().put(key, data)
        if key.endswith(self._at) and not self.asleep.is_set():
            self.asleep.set()
            await self.awake.wait()


class Sleeper:
    """A stage that sleeps in the middle of a message."""

    def __init__(self, connection: Connection, store: Sleepy, stage: Stage, work: Message) -> None:
        self._connection, self._store, self._stage = connection, store, stage
        self._working = asyncio.create_task(self._work(work))

    async def _work(self, work: Message) -> None:
        async with contextlib.aclosing(self._stage.process(work)) as results:
            async for result in results:
                await self._connection.publish(result)
        await self._stage.close()

    async def die(self) -> None:
        """End it while it sleeps."""
        await end(self._working)

    async def wake(self) -> None:
        """Let it do the rest."""
        self._store.awake.set()
        await self._working


async def asleep(
    connection: Connection, kind: type[Convert | Aggregate], work: Message, at: str, **more: Any
) -> Sleeper:
    store = Sleepy(connection, at)
    sleeper = Sleeper(connection, store, kind(resources(connection, Settings(**more), store=store)), work)
    async with asyncio.timeout(PATIENCE):
        await store.asleep.wait()
    return sleeper


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulated(tmp_path_factory.mktemp("runs")) as machines:
        yield machines


@pytest.fixture
async def connection(machines: Simulated) -> AsyncIterator[Connection]:
    async with await connect(machines.server.url, name="test") as connection:
        yield connection


async def start(connection: Connection, clip: str = "3min.ogg", **options: Any) -> str:
    media = await upload(connection, DATA / clip)
    wish = {"model": OLD, "language": "en", "title": f"{clip} {next(_COUNT)}", "force": True, **options}
    job, _ = await submit(connection, SubmitRequest(media=media, **wish))
    return job


async def words(connection: Connection, job: Job) -> Transcript:
    """The transcript of an ended job; checks that each format says the same."""
    assert job.completed, job.reason
    store = JetStreamStore(connection)
    transcript = await stored(store, job.completed.transcript)
    for format_ in FORMATS:
        text = (await store.get(f"{job.completed.transcript}.{format_}")).decode()
        text = text.replace("\\", "") if format_ == "md" else text  # which Markdown has before brackets
        assert all(segment.text in text for segment in transcript.segments)
    return transcript


async def drained(connection: Connection) -> None:
    """Wait until no chunk is left to do."""
    async with asyncio.timeout(PATIENCE):
        while await connection.messages(CHUNKS):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("again", [{"model": NEW}, {"chunk": 1, "model": NEW}])
async def test_a_convert_that_slept_spoils_no_retry(connection: Connection, again: dict[str, Any]) -> None:
    """Else the old run's end counts for the new one and the job hangs, or old chunks are mixed into it."""
    await pause(connection, "convert")
    job = await until(connection, await start(connection), lambda job: job.downloaded is not None)
    assert job.downloaded
    sleeper = await asleep(connection, Convert, job.downloaded, ".flac")
    await resume(connection, "convert")
    first = await ended(connection, job.id)
    await pause(connection, "convert")
    await operations.retry(connection, first, **again)
    await sleeper.wake()
    assert (await read(connection, job.id)).converted is None
    await resume(connection, "convert")
    second = await ended(connection, job.id)
    renewed = {again["chunk"]} if "chunk" in again else {*first.chunks}
    assert {n: chunk.model for n, chunk in second.chunks.items()} == {
        n: NEW if n in renewed else OLD for n in first.chunks
    }
    assert (await words(connection, second)).segments == tuple(second.segments())
    await drained(connection)


async def test_an_aggregator_that_slept_spoils_no_transcript(connection: Connection) -> None:
    """Else the files of a retried job are overwritten with old words for good."""
    await pause(connection, "aggregate")
    job = await until(connection, await start(connection, "20s-1.flac"), lambda job: job.is_whole)
    assert job.converted
    sleeper = await asleep(connection, Aggregate, job.converted, "transcript.json")
    await resume(connection, "aggregate")
    first = await ended(connection, job.id)
    await operations.retry(connection, first, model=NEW)
    second = await ended(connection, job.id)
    told = await words(connection, second)
    await sleeper.wake()
    now = await read(connection, job.id)
    assert now.completed == second.completed
    assert await words(connection, now) == told
    assert told.models == (NEW,)
    # What is remembered of each model has that model's words alone.
    assert second.downloaded
    store = JetStreamStore(connection)
    for model in (OLD, NEW):
        options = SubmitRequest(model=model, language="en")
        before = await previous.find(connection, store, second.downloaded.origin, options)
        assert before
        assert (await stored(store, before.transcript)).models == (model,)


async def test_of_two_retries_at_the_same_moment_one_stands(connection: Connection) -> None:
    """Else one of them is lost silently, or both are mixed."""
    job = await ended(connection, await start(connection, "20s-1.flac"))
    results = await asyncio.gather(
        *(operations.retry(connection, job, model=model) for model in (NEW, OTHER)), return_exceptions=True
    )
    told = [result for result in results if isinstance(result, V2TError)]
    assert [str(error) for error in told] == [
        f"somebody else has just retried job {job.id}: wait for that retry to end"
    ]
    winner = (NEW, OTHER)[results.index(next(result for result in results if isinstance(result, int)))]
    job = await ended(connection, job.id)
    assert (await words(connection, job)).models == (winner,)
    assert (job.options.model, job.retries) == (winner, 1)


async def test_a_retry_while_chunks_are_still_cut_takes_over(connection: Connection) -> None:
    """Else a user who chose the wrong model must wait for it, or gets words by both."""
    await pause(connection, "convert")
    job = await until(connection, await start(connection), lambda job: job.downloaded is not None)
    assert job.downloaded
    sleeper = await asleep(connection, Convert, job.downloaded, ".flac")
    await operations.retry(connection, await read(connection, job.id), model=NEW)
    await resume(connection, "convert")
    job = await ended(connection, job.id)
    await sleeper.wake()
    assert {chunk.model for chunk in job.chunks.values()} == {NEW}
    assert (await read(connection, job.id)).completed == job.completed
    await drained(connection)


async def test_what_is_in_hand_stops_when_a_retry_begins(
    connection: Connection, machines: Simulated, tmp_path: Path
) -> None:
    """Else the machines spend minutes on work that nobody wants any more, and the retry waits for them."""
    machines.machine.kill("transcribe")
    try:
        async with asyncio.timeout(PATIENCE):
            with node(machines.server.url, tmp_path, "transcribe", **{**machines.environment, "V2T_MODEL": "x0.1"}):
                job = await start(connection, model=None)
                while not any(job in subject for info in await fleet(connection) for subject in info.working):
                    await asyncio.sleep(0.05)
                await operations.retry(connection, await read(connection, job), model=NEW)
                state = await ended(connection, job)
        assert {chunk.model for chunk in state.chunks.values()} == {NEW}
        await drained(connection)
    finally:
        machines.machine.start("transcribe")


async def test_the_language_stays_with_the_chunks_that_are_kept(connection: Connection) -> None:
    """Else a transcript changes its language at the chunk that was done again."""
    job = await ended(connection, await start(connection, model="sim/x1000-de", language=None))
    await operations.retry(connection, job, chunk=1, model="sim/x1000-fr")
    again = await ended(connection, job.id)
    assert again.chunks[1].model == "sim/x1000-fr"
    assert {chunk.language for chunk in again.chunks.values()} == {"de"}
    await operations.retry(connection, again, model="sim/x1000-fr")
    assert {chunk.language for chunk in (await ended(connection, job.id)).chunks.values()} == {"fr"}


async def test_states_are_counted_as_they_are_shown(connection: Connection) -> None:
    """Else the metrics count a job as completed that is being redone."""
    job = await ended(connection, await start(connection, "5s.flac"))
    await pause(connection, "convert")
    try:
        await operations.retry(connection, job, model=NEW)
        jobs = fold_all(await history(connection, ["v2t.job.>"]))
        assert jobs[job.id].state == "converting"
        counted = {state: count for state, count in (await jobs_by_state(connection)).items() if count}
        assert counted == Counter(each.state for each in jobs.values())
    finally:
        await resume(connection, "convert")
    await ended(connection, job.id)


async def test_no_retry_where_old_nodes_would_lose_it(connection: Connection) -> None:
    """Else an older node believes that a chunk of the new run is done, and the job hangs."""
    job = await ended(connection, await start(connection, "5s.flac"))
    old = process(node="attic", version="0.1.0")
    await connection.client.request(old.key, encode(old), timeout=PATIENCE)
    with pytest.raises(V2TError, match=r"while nodes run release 0\.1: update attic first"):
        await operations.retry(connection, job, model=NEW)
    assert (await read(connection, job.id)).retries == 0


async def test_a_retry_that_release_0_1_has_begun_is_done(connection: Connection) -> None:
    """Else a job that an older release retried, during or before the upgrade, hangs for ever."""
    job = await ended(connection, await start(connection, "20s-1.flac"))
    assert job.downloaded
    await publish(connection, Retried(job=job.id, time=1, chunks=tuple(job.chunks)))
    for void in (job.completed, job.converted, *job.chunks.values()):
        assert void
        await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": void.subject})
    media = replace(job.downloaded, options=replace(job.options, model=NEW))
    await connection.client.request(media.subject, encode(media), timeout=PATIENCE)
    again = await ended(connection, job.id)
    assert (again.run, again.retries) == (0, 1)
    assert (await words(connection, again)).models == (NEW,)


# -- without stages


async def publish(connection: Connection, *facts: Message) -> None:
    for fact in facts:
        assert await connection.publish(fact)


def result(text: str, run: int = 0) -> ChunkDone:
    return chunk(0, text, run=run)


MEDIA = downloaded(source="s3://v2t-uploads/talk.flac")
OF_MINIO = {"minio_endpoint": "127.0.0.1:9"}


async def test_the_copies_of_an_upload_are_of_the_latest_run(nats: tuple[Server, Connection]) -> None:
    """Else an aggregator that slept while storing leaves old words beside the upload, where people look for them."""
    _, connection = nats
    store = OnS3(connection)
    aggregate = Aggregate(resources(connection, Settings(**OF_MINIO), store=store))
    await publish(connection, submitted(url=MEDIA.source), MEDIA, result("former"), converted())
    sleeper = await asleep(connection, Aggregate, converted(), "talk.json", **OF_MINIO)
    await publish(connection, *[fact async for fact in aggregate.process(converted())])
    await operations.retry(connection, await read(connection, "job"), model="other")
    await publish(connection, result("new", 1), converted(run=1))
    async for fact in aggregate.process(converted(run=1)):
        await publish(connection, fact)
    await sleeper.wake()
    for format_ in FORMATS:
        copy = (await store.get(f"transcripts/talk.{format_}")).decode()
        assert "new" in copy, format_
        assert "former" not in copy, format_


async def killed_at_the_end(connection: Connection, text: str, run: int) -> None:
    """A run ends, and its aggregator is killed at that moment."""
    await publish(connection, result(text, run), converted(run=run))
    async with contextlib.aclosing(Aggregate(resources(connection)).process(converted(run=run))) as facts:
        await publish(connection, await anext(facts))


@pytest.mark.parametrize("points", ["nothing", "the memory", "another job"])
async def test_what_is_left_of_older_runs_is_swept_unless_something_points_to_it(
    nats: tuple[Server, Connection], points: str
) -> None:
    """Else each retry whose machine died near the end leaves files for good, or another job loses its transcript."""
    _, connection = nats
    store = JetStreamStore(connection)
    await publish(connection, submitted(), MEDIA)
    await killed_at_the_end(connection, "old", 0)
    old = await store.keys("transcripts/")
    match points:
        case "the memory":
            await publish(connection, Done(job="job", key="key", transcript="transcripts/job/transcript"))
        case "another job":
            await publish(connection, completed("other", transcript=completed().transcript, of="job"))
    await operations.retry(connection, await read(connection, "job"), model="other")
    await killed_at_the_end(connection, "new", 1)
    both = {*await store.keys("transcripts/")}
    assert both > {*old}
    removed = await sweep_superseded(connection, store)
    assert {*await store.keys("transcripts/")} == (both - {*old} if points == "nothing" else both)
    assert removed == (len(FORMATS) if points == "nothing" else 0)


@pytest.mark.parametrize("then", ["retried", "cancelled"])
async def test_a_transcript_that_was_only_begun_is_swept(nats: tuple[Server, Connection], then: str) -> None:
    """Else half a transcript of a job that was given up, or retried with another model, stays for good."""
    _, connection = nats
    store = JetStreamStore(connection)
    await publish(connection, submitted(), MEDIA, result("old"), converted())
    sleeper = await asleep(connection, Aggregate, converted(), "transcript.srt")
    assert await sweep_superseded(connection, store) == 0  # somebody may be at it
    if then == "retried":
        await operations.retry(connection, await read(connection, "job"), model="other")
        await killed_at_the_end(connection, "new", 1)
    else:
        await operations.cancel(connection, store, await read(connection, "job"))
    await sleeper.die()
    assert await sweep_superseded(connection, store) > 0
    left = await store.keys("transcripts/")
    assert all(key.startswith("transcripts/job/1/") for key in left)
    assert len(left) == (len(FORMATS) if then == "retried" else 0)


async def test_the_transcript_of_a_forgotten_job_is_that_of_its_latest_run(nats: tuple[Server, Connection]) -> None:
    """Else a month after a retry nobody can read the words any more, or users get the old ones."""
    store = JetStreamStore(nats[1])
    assert await last_prefix(store, "forgotten") is None
    for run in ("", "2/", "10/"):
        await store.put(f"transcripts/forgotten/{run}transcript.json", b"{}")
        assert await last_prefix(store, "forgotten") == f"transcripts/forgotten/{run}transcript"


async def test_late_facts_of_an_older_run_are_kept_apart_by_the_stream(nats: tuple[Server, Connection]) -> None:
    """Else the stream refuses a late result of the old run, or keeps it and refuses the new one."""
    _, connection = nats
    facts: list[Message] = [submitted(), MEDIA, rerun(MEDIA)]
    for run in (1, 0):
        facts += [result("words", run), converted(run=run), completed(run=run)]
    await publish(connection, *facts)
    for fact in facts:
        assert not await connection.publish(fact)
    assert len(await connection.subjects(JOBS, "v2t.job.job.>")) == len(facts)
    state = await read(connection, "job")
    assert (state.state, state.run) == ("completed", 1)
