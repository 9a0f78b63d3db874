"""Kills, stops and restarts at random, while people submit, retry, redrive and cancel; `--chaos` makes it long.

Whatever became of a job is held against what comes of the same recording by the same model where nothing goes wrong.
"""

import asyncio
import contextlib
import http.server
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from tests.audio_files import RATE, read
from tests.harness import ALL_STAGES, DATA, alive, broker, node, served
from tests.observed import NOISE, hasten
from tests.oracle import Oracle, Recording
from tests.people import Offer, People
from tests.simulated import install
from tests.strikes import Strikes
from v2t_stream.audio import flac
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.superseded import sweep_superseded
from v2t_stream.runtime.stalls import stalls
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import queues
from v2t_stream.topology.streams import CHUNKS, DONE, JOBS

MODELS: Final = ("sim/x60-signed", "sim/x61-signed", "sim/x62-signed")
_SETTLES: Final = 150.0  # seconds in which all jobs must have ended after the last fault
_ROUNDS: Final = 4  # of redriving, without faults, until nothing is incomplete any more


class Size(NamedTuple):
    jobs: int
    seconds: float  # in which they are submitted, with faults and people all the while
    acts: int  # of people beside the submissions
    long: int  # how many times three minutes the longest recording has


SHORT = Size(12, 25, 25, 1)
LONG = Size(66, 360, 150, 4)
LIMIT: Final = 1200  # seconds for everything, of which only a failure or a very slow machine takes as many


class _Dripping(http.server.SimpleHTTPRequestHandler):
    """A download takes a while, so that it can be interrupted."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(ConnectionError):  # it was killed
            while data := source.read(64 << 10):
                outputfile.write(data)
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""


class Chaos(NamedTuple):
    connection: Connection
    strikes: Strikes
    people: People
    oracle: Oracle
    size: Size

    async def undisturbed(self, recordings: list[Recording]) -> None:
        """Let the oracle learn the result of each recording with each model."""
        for recording in recordings:
            for model in MODELS:
                await self.people.submit_as(recording, model, force=True)
        await self.ended()
        for job in (await self.oracle.jobs()).values():
            await self.oracle.learn(job)
        self.people.jobs.clear()
        # What follows shall not merely be given these transcripts.
        await self.connection.api(f"STREAM.PURGE.{DONE}")

    async def disturbed(self) -> None:
        """Submit, strike and act, each at its own pace."""
        begun = asyncio.get_running_loop().time()

        async def paced(count: int, what: Callable[[], Any]) -> None:
            for n in range(count):
                await asyncio.sleep(begun + self.size.seconds * n / count - asyncio.get_running_loop().time())
                await what()

        async def striking() -> None:
            while asyncio.get_running_loop().time() < begun + self.size.seconds:
                await self.strikes.strike()

        async with asyncio.TaskGroup() as group:
            group.create_task(paced(self.size.jobs, self.people.submit))
            group.create_task(paced(self.size.acts, self.people.act))
            group.create_task(striking())
        await self.strikes.end()

    async def ended(self) -> dict[str, Job]:
        """All jobs, once all have ended and no work is left; on a timeout, fails with the states of the others."""
        give_up = time.monotonic() + _SETTLES
        while True:
            self.strikes.revive()
            with contextlib.suppress(BrokerError):
                jobs = await self.oracle.jobs()
                open_ = [job for job in jobs.values() if not job.ended]
                unknown = {*self.people.jobs} - jobs.keys()
                if not open_ and not unknown and not await self.connection.messages(CHUNKS):
                    return jobs
                assert time.monotonic() < give_up, await self._standing(open_, unknown)
            await asyncio.sleep(0.2)

    async def _standing(self, jobs: list[Job], unknown: set[str]) -> str:
        lacks = {id_: stall.reason for id_, (_, stall) in (await stalls(self.connection, [j.id for j in jobs])).items()}
        lines = [
            f"{job.id} {job.title} {job.state}, run {job.run}, {len(job.chunks)} chunks of {job.chunks_cut}, "
            f"{lacks.get(job.id, 'which lacks nothing')}"
            for job in jobs
        ]
        waits = [f"{queue}" for queue in await queues(self.connection)]
        return "\n".join(["did not end:", *lines, f"unknown: {sorted(unknown)}", *waits])

    async def holds(self) -> None:
        """Check that all jobs are right, and all files after sweeping what killed processes left."""
        await sweep_superseded(self.connection, JetStreamStore(self.connection))
        problems = await self.oracle.problems()
        assert not problems, "\n".join(problems)

    async def redriven(self) -> int:
        """Redrive what was given up, without faults, until all is complete; returns how many letters that took."""
        count = 0
        for _ in range(_ROUNDS):
            count += await self.people.redrive_all()
            jobs = await self.ended()
            if not any(job.gaps or job.state == "failed" for job in jobs.values() if _can_be_complete(job)):
                break
        return count


def _can_be_complete(job: Job) -> bool:
    """Check that a redriven submission became another job, and cancelled jobs stay cancelled."""
    return job.submitted is not None and not job.cancelled


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--chaos-seed")
    chosen = random.randrange(1_000_000) if given is None else given
    print(f"--chaos-seed {chosen}")  # noqa: T201  # pytest shows it where the test fails
    return int(chosen)


def _recordings(folder: Path, times: int) -> list[Recording]:
    """Recordings of several lengths, uploaded and as links; the longest has many chunks."""
    folder.mkdir()
    long = folder / "long.flac"
    samples = read(DATA / "3min.ogg")
    long.write_bytes(flac.encode(np.tile(samples, times)))
    assert samples.size > 2 * 60 * RATE
    return [
        Recording("few words", DATA / "5s.flac"),
        Recording("a link", DATA / "20s-1.flac", is_link=True),
        *([Recording("three minutes", DATA / "3min.ogg", is_link=True)] if times > 1 else []),
        Recording("many chunks", long),
    ]


@pytest.mark.timeout(LIMIT + 60)
async def test_whatever_dies_sleeps_and_is_asked_for_no_words_are_lost_doubled_or_mixed(
    tmp_path: Path, seed: int, request: pytest.FixtureRequest, shown: Callable[[str, str], None]
) -> None:
    """Else users who run this for weeks, on machines that come and go, find hanging jobs and wrong words."""
    size = LONG if request.config.getoption("--chaos") else SHORT
    recordings = _recordings(tmp_path / "media", size.long)
    async with _running(tmp_path, seed, size, recordings) as chaos, asyncio.timeout(LIMIT):
        begun = time.monotonic()
        await chaos.undisturbed(recordings)
        known = len(await chaos.oracle.jobs())
        await chaos.disturbed()
        faults_end = time.monotonic()
        jobs = await chaos.ended()
        settled = time.monotonic() - faults_end
        await chaos.holds()
        _answers_hold(chaos.people, jobs)
        states = [job.state for job in [*jobs.values()][known:]]
        compared, gaps = chaos.oracle.compared, chaos.oracle.gaps
        letters = await chaos.redriven()
        await chaos.holds()
        jobs = await chaos.oracle.jobs()
        assert not [job.reason for job in jobs.values() if _can_be_complete(job) and (job.gaps or job.failed)]
    said = [line for one in chaos.strikes.nodes for stage in ALL_STAGES for line in one.log(stage).splitlines()]
    assert not [line for line in said if any(noise in line for noise in NOISE)]
    strikes, acts = chaos.strikes.counts, chaos.people.counts
    shown(
        f"{strikes.total()} strikes ({_listed(strikes)}), {chaos.strikes.in_hand} of them with work in hand, while "
        f"people did {acts.total()} things ({_listed(acts)}; {chaos.people.refused} more were refused), seed {seed}",
        f"{len(states)} jobs in {time.monotonic() - begun:.0f} s ({states.count('completed')} completed, "
        f"{states.count('cancelled')} cancelled, {states.count('failed')} given up), the last one {settled:.0f} s "
        f"after the last fault; {compared} comparisons with undisturbed transcripts found {gaps} marked gaps and "
        f"nothing else; after {letters} letters were redriven there was no gap either",
    )


def _answers_hold(people: People, jobs: dict[str, Job]) -> None:
    """Check that everything that people were told was accepted has happened."""
    assert {*people.jobs} <= jobs.keys()
    for id_, number, model in people.retried:
        rerun = jobs[id_].runs[number].rerun
        assert rerun, f"run {number} of job {id_} was never begun"
        assert model in (None, rerun.begins.options.model)
    assert [jobs[id_].state for id_ in people.cancelled] == ["cancelled"] * len(people.cancelled)


def _listed(counts: Any) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


@contextlib.asynccontextmanager
async def _running(folder: Path, seed: int, size: Size, recordings: list[Recording]) -> AsyncIterator[Chaos]:
    served_folder = folder / "media"
    for recording in recordings:
        if recording.is_link:
            (served_folder / recording.path.name).write_bytes(recording.path.read_bytes())
    async with broker(folder / "nats") as (server, connection):
        await hasten(connection)
        await _keep_all(connection)
        with ExitStack() as stack:
            web = stack.enter_context(served(served_folder, _Dripping))
            environment = {**install(folder / "simulated"), "V2T_WARM": "true"}
            nodes = [
                stack.enter_context(node(server.url, folder / name, V2T_NODE=name, **environment))
                for name in ("one", "two")
            ]
            await alive(connection)
            yield Chaos(
                connection,
                Strikes(connection, server, nodes, seed),
                People(connection, Offer(recordings, MODELS, web), folder / "person", seed),
                Oracle(connection, recordings),
                size,
            )
            server.revive()


async def _keep_all(connection: Connection) -> None:
    """Stop facts from replacing each other, so that the test can count all that were ever stored."""
    config = (await connection.api(f"STREAM.INFO.{JOBS}"))["config"]
    await connection.api(f"STREAM.UPDATE.{JOBS}", {**config, "max_msgs_per_subject": -1})
