"""Several nodes with simulated engines behind the real stages and broker."""

import asyncio
import itertools
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.options import Accelerator
from schemas.requests import SubmitRequest
from tests.builders import chunk, completed
from tests.harness import DATA, Node, Simulated, ended, node, simulated, transcribe, until, upload
from tests.observed import pulled_by
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs import operations
from v2t_stream.jobs.facts import Run
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import pause, resume
from v2t_stream.topology.streams import CHUNKS, JOBS, NODES


def children(pid: int) -> list[str]:
    """The processes that a process has started and that still live."""
    listed = subprocess.run(["pgrep", "-r", "R,S,D", "-P", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()


SHARED = ("intake", "download", "convert", "aggregate")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A broker, and one node with all stages except transcribe, shared by all tests here."""
    with simulated(tmp_path_factory.mktemp("fleet"), *SHARED, V2T_NODE="hub") as hub:
        yield hub


_COUNT = itertools.count()  # the same submission twice would be one job


class Fleet:
    """Transcribe nodes at the hub, as the test wants."""

    def __init__(self, connection: Connection, hub: Simulated, folder: Path, stack: ExitStack) -> None:
        self.connection = connection
        self.store = JetStreamStore(connection)
        self._hub, self._folder, self._stack = hub, folder, stack

    def join(self, name: str, model: str, **environment: str) -> Node:
        machine = node(
            self._hub.server.url,
            self._folder / name,
            "transcribe",
            **{**self._hub.environment, "V2T_NODE": name, "V2T_MODEL": model, **environment},
        )
        return self._stack.enter_context(machine)

    async def share(self, models: dict[str, str], **options: bool) -> Job:
        """A job of which each of these nodes gets a chunk: its engine is ready and it waits for work as they come.

        Until a node that stands still then has done its own, the others must not be fast enough to do it too.
        """
        for name, model in models.items():
            self.join(name, model, V2T_WARM="true")
        await self.seen(
            lambda nodes: len(nodes) == len(models) and all(info.queues and info.state == "ready" for info in nodes)
        )
        await pause(self.connection, "transcribe-any")
        try:
            job_id = await self.submit(**options)
            await until(self.connection, job_id, lambda job: job.converted is not None)
            await pulled_by(self.connection, "transcribe", len(models))
        finally:
            await resume(self.connection, "transcribe-any")
        job = await ended(self.connection, job_id)
        assert job.state == "completed", job.reason
        assert {chunk.node for chunk in job.chunks.values()} == {*models}
        return job

    async def submit(self, clip: str = "3min.ogg", **options: str | bool) -> str:
        media = await upload(self.connection, DATA / clip)
        job, _ = await submit(
            self.connection, SubmitRequest(media=media, title=f"{clip} {next(_COUNT)}", force=True, **options)
        )
        return job

    async def seen(self, what: Callable[[list[NodeInfo]], bool]) -> list[NodeInfo]:
        """The transcribe nodes when they are as `what` says."""
        async with asyncio.timeout(PATIENCE):
            while True:
                nodes = [info for info in await fleet(self.connection) if info.stage == "transcribe"]
                if what(nodes):
                    return nodes
                await asyncio.sleep(0.1)


@pytest.fixture
async def machines(hub: Simulated, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with await connect(hub.server.url, name="test") as connection:
        with ExitStack() as stack:
            fleet_ = Fleet(connection, hub, tmp_path, stack)
            yield fleet_
        await connection.api(f"STREAM.PURGE.{NODES}")  # whoever is still there tells so in a moment


async def test_all_nodes_share_one_file(machines: Fleet) -> None:
    """Else three machines are as slow as one."""
    await machines.share({"m2": "x4", "m4": "x6", "box": "x5"})


async def test_a_job_has_one_language_on_all_machines(machines: Fleet) -> None:
    """Else a transcript changes its language where the machine changed."""
    job = await machines.share({"hears-german": "x8-de", "hears-french": "x8-fr"})
    assert job.language
    assert {chunk.language for chunk in job.chunks.values()} == {job.language.language}
    text = " ".join(segment.text for segment in job.segments())
    assert set(re.findall(r" in (\w+)\.", text)) == {job.language.language}


async def test_many_languages_where_asked(machines: Fleet) -> None:
    """Else an interview in two languages is heard in one."""
    job = await machines.share({"hears-german": "x8-de", "hears-french": "x8-fr"}, multilingual=True)
    assert {chunk.language for chunk in job.chunks.values()} == {"de", "fr"}


async def test_cancel_ends_everything_at_once(machines: Fleet) -> None:
    """Else an unwanted job keeps the machines busy, and comes back when a late result arrives."""
    machines.join("slow", "x0.5")
    job_id = await machines.submit()
    nodes = await machines.seen(lambda nodes: any(info.working for info in nodes))
    job = await until(machines.connection, job_id, lambda job: bool(job.converted))
    await operations.cancel(machines.connection, machines.store, job)
    await machines.seen(lambda nodes: not any(info.working for info in nodes))
    assert not await machines.connection.subjects(CHUNKS, "v2t.chunk.>")
    assert job.submitted
    assert await machines.store.size(job.submitted.media or "") is None
    assert await machines.store.size(f"media/{job_id}/chunks/0.flac") is None
    # A result that was on its way, and what would rest on it.
    await machines.connection.publish(chunk(job=job_id))
    await machines.connection.publish(completed(job_id, transcript="late"))
    assert (await ended(machines.connection, job_id)).state == "cancelled"
    with pytest.raises(V2TError, match="it is already cancelled"):
        await operations.cancel(machines.connection, machines.store, await ended(machines.connection, job_id))
    assert nodes


async def test_a_poison_chunk_leaves_a_gap_and_retry_fills_it(machines: Fleet) -> None:
    """Else one bad chunk loses the whole transcript, or its words for good."""
    probe = machines.join("probe", "x1000")
    good = await ended(machines.connection, await machines.submit())
    poison = (good.chunks[1].end - good.chunks[1].start, next(iter(good.chunks[1].segments)).text.split()[0])[1]
    probe.stop()
    await machines.seen(lambda nodes: not nodes)
    machines.join("picky", f"x1000-poison{poison}")
    job = await ended(machines.connection, await machines.submit())
    assert job.state == "completed"
    assert [gap.chunk for gap in job.gaps] == [1]
    assert "too much for me" in job.gaps[0].reason
    text = (await machines.store.get(f"transcripts/{job.id}/transcript.txt")).decode()
    assert "[missing: " in text

    assert await operations.retry(machines.connection, job, model="x1000", chunk=1) == 1
    again = await until(machines.connection, job.id, lambda job: job.state == "completed" and not job.gaps)
    assert [segment.text for segment in again.segments()] == [segment.text for segment in good.segments()]
    assert {n for n, chunk in again.chunks.items() if chunk.model == "x1000"} == {1}
    assert again.completed
    text = (await machines.store.get(f"{again.completed.transcript}.txt")).decode()
    assert "[missing: " not in text


async def test_a_job_is_completed_or_cancelled_and_never_both(machines: Fleet) -> None:
    """Else a completed job is cancelled a moment later and its media removed."""
    machines.join("one", "x1000")
    job = await ended(machines.connection, await machines.submit("20s-1.flac"))
    for run in (0, 1):
        seen = replace(job, runs={**job.runs, run: Run()}, run=run, sequences={})  # as it was read a moment before
        with pytest.raises(V2TError, match="it has just completed"):
            await operations.cancel(machines.connection, machines.store, seen)
        assert (await read(machines.connection, job.id)).state == "completed"
        if not run:
            await operations.retry(machines.connection, job, chunk=0)
            await ended(machines.connection, job.id)


async def test_everything_again_by_another_model_without_a_download(machines: Fleet) -> None:
    """Else using a better model means finding and fetching everything again."""
    machines.join("one", "x1000")
    job = await ended(machines.connection, await machines.submit())
    assert await operations.retry(machines.connection, job, model="x900") == len(job.chunks)
    again = await until(
        machines.connection,
        job.id,
        lambda job: job.state == "completed" and all(chunk.model == "x900" for chunk in job.chunks.values()),
    )
    assert len(again.chunks) == len(job.chunks)
    assert again.downloaded
    assert job.downloaded
    assert again.downloaded.media == job.downloaded.media


async def test_chunks_that_wait_are_done_by_the_model_that_a_retry_names(machines: Fleet) -> None:
    """Else a user who named a model that no machine has must submit again, or gets words by both."""
    job = await until(machines.connection, await machines.submit(model="sim/x900"), lambda job: bool(job.downloaded))
    await operations.retry(machines.connection, job, model="sim/x800")  # perhaps while it is still being cut
    job = await until(machines.connection, job.id, lambda job: bool(job.converted))
    await operations.retry(machines.connection, job, model="sim/x1000")
    machines.join("one", "x1000")
    job = await ended(machines.connection, job.id)
    assert {chunk.model for chunk in job.chunks.values()} == {"sim/x1000"}


async def test_a_failed_download_can_be_retried(machines: Fleet) -> None:
    """Else a job that failed for a temporary reason must be submitted again."""
    media = await upload(machines.connection, DATA / "5s.flac")
    await machines.store.delete(media)
    machines.join("one", "x1000")
    job, _ = await transcribe(machines.connection, SubmitRequest(media=media))
    assert (job.state, job.downloaded) == ("failed", None)
    await machines.store.put_file(media, DATA / "5s.flac")
    assert await operations.retry(machines.connection, job) is None
    assert await until(machines.connection, job.id, lambda job: job.state == "completed")


async def test_nothing_to_retry_is_said(machines: Fleet) -> None:
    """Else the user waits for something that will not happen."""
    machines.join("one", "x1000")
    job = await ended(machines.connection, await machines.submit("5s.flac"))
    with pytest.raises(V2TError, match="there is nothing to retry: pass --chunk N"):
        await operations.retry(machines.connection, job)
    with pytest.raises(V2TError, match="no result for chunk 99"):
        await operations.retry(machines.connection, job, chunk=99)


async def test_a_straggler_is_done_again_by_an_idle_faster_node(machines: Fleet) -> None:
    """Else the slowest machine decides when a job ends."""
    machines.join("snail", "x0.2")
    await machines.seen(lambda nodes: len(nodes) == 1)
    job_id = await machines.submit()
    await machines.seen(lambda nodes: any(info.working for info in nodes))
    machines.join("hare", "x100")
    job = await ended(machines.connection, job_id)
    assert job.state == "completed"
    assert {chunk.node for chunk in job.chunks.values()} == {"hare"}
    assert len([fact async for fact in machines.connection.watch(JOBS, f"v2t.job.{job_id}.completed", live=False)]) == 2


@pytest.mark.parametrize("accelerator", ["cuda", "metal"])
async def test_a_job_goes_where_it_is_pinned(accelerator: Accelerator, machines: Fleet) -> None:
    """Else the expensive card is idle while a laptop does its work."""
    machines.join("plain", "x1000")
    machines.join("special", "x1000", V2T_DEVICE=accelerator)
    await machines.seen(lambda nodes: len(nodes) == 2)
    media = await upload(machines.connection, DATA / "20s-1.flac")
    job, _ = await transcribe(machines.connection, SubmitRequest(media=media, accelerator=accelerator))
    assert {chunk.node for chunk in job.chunks.values()} == {"special"}


async def test_the_fleet_is_seen_and_forgotten(machines: Fleet) -> None:
    """Else nobody knows which machines work, or the fleet waits for a dead one."""
    machine = machines.join("one", "x50")
    await machines.seen(
        lambda nodes: [(info.node, info.engine, info.model) for info in nodes] == [("one", "simulated", "x50")]
    )
    await ended(machines.connection, await machines.submit("20s-1.flac"))
    (info,) = await machines.seen(lambda nodes: bool(nodes and nodes[0].speed))
    assert info.speed
    assert 0 < info.speed <= 50
    machine.kill("transcribe")
    await machines.seen(lambda nodes: not nodes)


async def test_the_fleet_answers_nats_micro(machines: Fleet) -> None:
    """Else the tools that people have for NATS services do not see it."""
    machines.join("one", "x50")
    await machines.seen(lambda nodes: len(nodes) == 1)
    reply = await machines.connection.client.request("$SRV.INFO.v2t-transcribe", timeout=PATIENCE)
    info = json.loads(reply.data)
    assert (info["name"], info["metadata"]["node"]) == ("v2t-transcribe", "one")


async def test_an_idle_engine_gives_its_memory_back(machines: Fleet) -> None:
    """Else a node that waits for work keeps the GPU from everything else."""
    machine = machines.join("one", "x1000", V2T_IDLE="0.5")
    await ended(machines.connection, await machines.submit("5s.flac"))
    async with asyncio.timeout(PATIENCE):
        while children(machine.pid("transcribe")):
            await asyncio.sleep(0.1)
    assert (await ended(machines.connection, await machines.submit("5s.flac"))).state == "completed"
