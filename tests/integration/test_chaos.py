"""Kill -9 at random, of any stage's process and of the broker, while jobs run; `--chaos` makes it long.

A transcript is compared with that of the same media without faults: every format byte for byte, and the record without
the job's id and its timings, as those are another job's.
"""

import asyncio
import contextlib
import http.server
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from schemas.requests import SubmitRequest
from tests.harness import ALL_STAGES, DATA, Node, Server, broker, node, served
from tests.observed import NOISE, hasten
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, V2TError
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs.dead_letters import dead_letters, redrive
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import JOBS

CLIP = DATA / "3min.ogg"
KINDS = 2  # of sources: a file that was uploaded, and a link
SECOND = ("transcribe", "aggregate")  # what the other node does too


class Size(NamedTuple):
    kills: int
    jobs: int


SHORT = Size(12, 4)
LONG = Size(100, 20)
LIMIT: Final = 1800  # seconds for everything, of which only a failure or a very slow machine takes as many


class _Dripping(http.server.SimpleHTTPRequestHandler):
    """A download takes a while, so that it can be interrupted."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(ConnectionError):  # it was killed
            while data := source.read(32 << 10):
                outputfile.write(data)
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""


class Chaos:
    """Everything that can be killed, the jobs, and what was done to them."""

    def __init__(self, connection: Connection, server: Server, nodes: list[Node], seed: int) -> None:
        self._connection = connection
        self._store = JetStreamStore(connection)
        self._server = server
        self.nodes = nodes
        self._random = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.in_hand = 0  # kills at which the stage had a message in hand
        self.jobs: dict[str, int] = {}  # with the number of what they are made of
        self.redriven: set[str] = set()  # jobs of which something was given up as what kills, and sent again

    async def submit(self, web: str) -> str:
        """Submit the next job: by turns a file that was uploaded, and one to be downloaded."""
        n = len(self.jobs)
        if n % KINDS:
            request = SubmitRequest(force=True, url=f"{web}/{CLIP.name}", title=f"{n}", language="en")
        else:
            key = f"media/uploads/{n}/{CLIP.name}"
            await self._store.put_file(key, CLIP)
            request = SubmitRequest(force=True, media=key, title=CLIP.name, language="en")
        job, _ = await submit(self._connection, request)
        self.jobs[job] = n % KINDS
        return job

    async def complete(self, web: str) -> str:
        """Submit the next job and wait until it is done."""
        job = await self.submit(web)
        await self.ended()
        return job

    async def ended(self) -> None:
        """Until all jobs have completed. Fails with the reason of the first that does not."""
        while True:
            with contextlib.suppress(BrokerError):
                if not await self._redrive() and set(await self.stored("completed")) == set(self.jobs):
                    return
            self.revive()
            await asyncio.sleep(0.1)

    async def _redrive(self) -> bool:
        """Send again what was given up, as an operator does; whether there was anything.

        Kills as thick as these hit some message three times. Nothing sets it apart from one that kills.
        """
        found = await dead_letters(self._connection)
        for dead in found:
            assert "died with it 3 times" in dead.letter.reason, dead.letter.reason
            self.redriven.add(dead.letter.job)
            with contextlib.suppress(V2TError):  # its job is not as far yet
                await redrive(self._connection, dead)
        return bool(found)

    async def strike(self) -> None:
        """Kill one that runs, in the moment at which it has work, and start it again."""
        kind = self._random.choice(("broker", *ALL_STAGES))
        victim = self._random.choice([one for one in self.nodes if one.has(kind) or kind == "broker"])
        if kind != "broker":
            await self._is_up(victim.pid(kind))
        self.in_hand += await self._has_work(ALL_STAGES if kind == "broker" else (kind,))
        await asyncio.sleep(self._random.uniform(0, 0.05))
        if kind == "broker":
            self._server.kill()
        else:
            victim.kill(kind)
        self.killed[kind] += 1
        await asyncio.sleep(self._random.uniform(0, 0.5))
        self.revive()

    async def _is_up(self, pid: int) -> None:
        """Until a process works: who dies in its start has nothing to lose."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            with contextlib.suppress(BrokerError):
                if pid in {info.pid for info in await fleet(self._connection)}:
                    return
            await asyncio.sleep(0.05)

    def revive(self) -> None:
        """Start what does not run, as a supervisor does."""
        self._server.revive()
        for one in self.nodes:
            one.revive()

    async def _has_work(self, stages: tuple[str, ...]) -> bool:
        """Whether a message comes into the hands of one of the stages within a moment."""
        give_up = time.monotonic() + 1.5  # asyncio.timeout would be lost now and then in wait_for, which is nats-py's
        while time.monotonic() < give_up:
            for stage in stages:
                row = stage_row(stage)
                name = f"CONSUMER.INFO.{row.stream}.{row.consumers[-1].durable}"
                with contextlib.suppress(BrokerError):
                    if (await self._connection.api(name))["num_ack_pending"]:
                        return True
            await asyncio.sleep(0.002)
        return False

    async def transcripts(self, job: str) -> dict[str, bytes]:
        """In all formats, without what differs from job to job."""
        name = f"transcripts/{job}/transcript"
        written = {format_: await self._store.get(f"{name}.{format_}") for format_ in FORMATS}
        record = msgspec.json.decode(written["json"])
        for field in ("job", "timings"):
            del record[field]
        return {**written, "json": msgspec.json.encode(record)}

    async def stored(self, fact: str) -> Counter[str]:
        """How many times the fact was ever stored, by job."""
        answer = await self._connection.api(f"STREAM.INFO.{JOBS}", {"subjects_filter": f"v2t.job.*.{fact}"})
        counted: Counter[str] = Counter()
        for subject, count in (answer["state"].get("subjects") or {}).items():
            counted[subject.split(".")[2]] += count
        return counted


async def _keep_all(connection: Connection) -> None:
    """Have facts not replace one another, so that all that were ever stored can be counted."""
    config = (await connection.api(f"STREAM.INFO.{JOBS}"))["config"]
    await connection.api(f"STREAM.UPDATE.{JOBS}", {**config, "max_msgs_per_subject": -1})


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--chaos-seed")
    chosen = random.randrange(1_000_000) if given is None else given
    print(f"--chaos-seed {chosen}")  # noqa: T201  # pytest shows it where the test fails
    return int(chosen)


@pytest.fixture
async def chaos(tmp_path: Path, seed: int) -> AsyncIterator[Chaos]:
    async with broker(tmp_path / "nats") as (server, connection):
        await hasten(connection)
        await _keep_all(connection)
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(
                    node(server.url, tmp_path / name, *stages, V2T_NODE="one", V2T_BATCH="1", V2T_WARM="true")
                )
                for name, stages in (("one", ALL_STAGES), ("two", SECOND))
            ]
            yield Chaos(connection, server, nodes, seed)
            server.revive()


@pytest.mark.timeout(LIMIT + 60)
async def test_kills_at_random_lose_and_change_nothing(
    chaos: Chaos, seed: int, request: pytest.FixtureRequest, shown: Callable[[str, str], None]
) -> None:
    """Else who runs this for weeks, on machines that come and go, finds jobs that hang, and words lost or doubled."""
    size = LONG if request.config.getoption("--chaos") else SHORT
    with served(DATA, _Dripping) as web:
        async with asyncio.timeout(LIMIT):
            undisturbed = [await chaos.transcripts(await chaos.complete(web)) for _ in range(KINDS)]
            before = len(chaos.jobs)
            for n in range(size.kills):
                while len(chaos.jobs) - before <= n * size.jobs // size.kills:
                    await chaos.submit(web)
                await chaos.strike()
            await chaos.ended()
    jobs = list(chaos.jobs)[before:]
    assert len(jobs) == size.jobs
    counted = {fact: await chaos.stored(fact) for fact in ("submitted", "downloaded", "converted", "completed")}
    once = [job for job in chaos.jobs if job not in chaos.redriven]
    assert all([stored[job] for job in once] == [1] * len(once) for stored in counted.values()), counted
    chunks = await chaos.stored("chunk.*")
    assert len({chunks[job] for job in once}) == 1
    equal = [await chaos.transcripts(job) == undisturbed[chaos.jobs[job]] for job in jobs]
    assert all(equal)
    for one in chaos.nodes:
        for stage in ALL_STAGES:
            if one.has(stage):
                assert not any(noise in one.log(stage) for noise in NOISE), one.log(stage)
    kills = ", ".join(f"{count} {kind}" for kind, count in sorted(chaos.killed.items()))
    shown(
        f"{chaos.killed.total()} kills ({kills}), {chaos.in_hand} of them with work in hand, seed {seed}",
        f"{len(jobs)} jobs completed, {len(chaos.redriven)} of them after a redrive of what three kills had hit, "
        f"{sum(equal)} transcripts equal to those without faults",
    )
