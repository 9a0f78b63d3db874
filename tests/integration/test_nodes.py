"""`v2t node` as a machine's owner sees it: it crashes, sleeps, wakes, is stopped and is killed."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from tests.harness import ALL_STAGES, DATA, Server, broker, ended, until, upload
from tests.observed import hasten
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.errors import StoreAway
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES, Consumer
from v2t_stream.topology.streams import JOBS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
RESTARTING = re.compile(r"restarting( in \d+ s)?, \d+ failures? in a row")


class Machine:
    """A `v2t node` and all its processes."""

    def __init__(self, url: str, home: Path, **environment: str) -> None:
        self.home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("V2T_")},
            "NATS_URL": url,
            "V2T_DATA_DIR": str(home),
            "V2T_NODE": home.name,
            **environment,
        }
        home.mkdir(parents=True, exist_ok=True)
        with (home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "v2t_stream", "node"], env=self._environment, stdout=log, stderr=log
            )

    def command(self, *arguments: str) -> str:
        """What `v2t` prints with the settings of this machine."""
        done = subprocess.run(
            [sys.executable, "-m", "v2t_stream", *arguments],
            env=self._environment | {"COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    @property
    def log(self) -> str:
        return (self.home / "node.log").read_text()

    def processes(self) -> list[int]:
        """All running processes: the node, its stages and their engines, and what they left behind."""
        mark = f"V2T_DATA_DIR={self.home}\0".encode()
        return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _carries(folder, mark)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole tree, as when a laptop's lid closes."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait()


def _carries(folder: Path, mark: bytes) -> bool:
    with contextlib.suppress(OSError):
        return mark in (folder / "environ").read_bytes()  # a zombie has none
    return False


class Room:
    """A broker, and machines around it."""

    def __init__(self, server: Server, connection: Connection, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.connection = connection
        self._folder, self._stack = folder, stack
        self._engine = install(folder / "simulated")
        self._jobs = 0

    async def machine(self, name: str, model: str, **environment: str) -> Machine:
        """A started machine, without its stages."""
        settings = {**self._engine, "V2T_MODEL": model, **environment}
        machine = Machine(self.server.url, self._folder / name, **settings)
        self._stack.callback(machine.end)
        async with asyncio.timeout(PATIENCE):
            while "works for" not in machine.log:
                await asyncio.sleep(0.05)
        await hasten(self.connection)  # a node that starts sets up everything
        return machine

    async def submit(self, clip: str = "3min.ogg") -> str:
        self._jobs += 1
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(StoreAway):  # where the broker has just ended our connection
                    media = await upload(self.connection, DATA / clip)
                    break
        request = SubmitRequest(media=media, title=f"{clip} {self._jobs}", language="en")
        return (await submit(self.connection, request))[0]

    async def seen(self, what: Callable[[list[NodeInfo]], object]) -> list[NodeInfo]:
        """The fleet when it is as `what` says."""
        async with asyncio.timeout(PATIENCE):
            while not what(nodes := await fleet(self.connection)):
                await asyncio.sleep(0.1)
        return nodes

    async def at_work(self, machine: Machine) -> list[NodeInfo]:
        """Wait until the machine works on a chunk."""
        return await self.seen(lambda nodes: any(has_chunk(info, machine) for info in nodes))


def has_chunk(info: NodeInfo, machine: Machine) -> bool:
    return info.node == machine.home.name and info.stage == "transcribe" and bool(info.working)


def alive(nodes: list[NodeInfo], machine: Machine) -> set[str]:
    """The running stages of the machine."""
    return {info.stage for info in nodes if info.is_alive and info.node == machine.home.name}


@contextlib.asynccontextmanager
async def rooms(folder: Path, extra: str = "") -> AsyncGenerator[Room]:
    """`extra`: more of the server's configuration."""
    async with broker(folder / "nats", extra) as (server, connection):
        with ExitStack() as stack:
            yield Room(server, connection, folder, stack)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with rooms(tmp_path) as room:
        yield room


# -- a stage that crashes


async def test_a_crash_loop_is_shown_until_it_is_over(room: Room, tmp_path: Path) -> None:
    """Else a stage dies every half minute for a week, and every job waits without saying why."""
    (tmp_path / "ill").mkdir()
    (tmp_path / "ill" / "scratch").write_text("a file where the stages need a folder")
    machine = await room.machine("ill", "x1000")
    await room.seen(lambda nodes: any(not info.is_alive and "failures in a row" in info.state for info in nodes))
    job = await room.submit("5s.flac")
    await until(room.connection, job, lambda job: job.submitted is not None)

    await says(machine, "node", "list", what=shows_convert_down)
    await says(machine, "node", "list", "--json", what=lists_convert_down)
    down = re.compile(f"the stage download is down on ill, {RESTARTING.pattern}")
    await says(machine, "job", "status", job, what=down.search)

    (tmp_path / "ill" / "scratch").unlink()
    assert (await ended(room.connection, job)).state == "completed"
    await room.seen(
        lambda nodes: alive(nodes, machine) == {*ALL_STAGES} and all(info.is_alive for info in nodes),
    )
    assert "Traceback" not in machine.log


async def says(machine: Machine, *arguments: str, what: Callable[[str], object]) -> None:
    """Wait until `what` accepts a command's output, which leaves out a process that is silent for a while."""
    async with asyncio.timeout(PATIENCE):
        while not what(await asyncio.to_thread(machine.command, *arguments)):
            await asyncio.sleep(0.1)


def shows_convert_down(table: str) -> bool:
    """Whether a table of processes shows convert once, with the reason why it is down."""
    rows = [line for line in table.splitlines() if re.match(r"\S+ +convert ", line)]
    reasons = [line for line in table.splitlines() if line.startswith("the last error of convert on ")]
    return (
        (len(rows), len(reasons)) == (1, 1)
        and bool(re.search(RESTARTING, rows[0]))
        and all(part in reasons[0] for part in ("ended with code 1: ", "scratch"))
    )


def lists_convert_down(listed: str) -> bool:
    """Whether a list of processes shows convert once, as down, and others too."""
    states = {stage: [info["state"] for info in json.loads(listed) if info["stage"] == stage] for stage in ALL_STAGES}
    return (
        len(states["convert"]) == 1
        and bool(RESTARTING.fullmatch(states["convert"][0]))
        and states["aggregate"] == ["ready"]
    )


# -- a machine that sleeps


async def facts(connection: Connection, job: str) -> dict[str, int]:
    """The facts of a job with their places in the stream, without progress, which is only for display."""
    found = connection.watch(JOBS, f"v2t.job.{job}.*", f"v2t.job.{job}.chunk.*", live=False)
    return {stored.subject: stored.sequence async for stored in found if stored}


async def done_by(room: Room, machine: Machine, job: str) -> None:
    """The job completes, and this machine did its chunks."""
    job_ = await ended(room.connection, job)
    assert job_.state == "completed", job_.reason
    assert {chunk.node for chunk in job_.chunks.values()} == {machine.home.name}


@pytest.mark.parametrize("extra", ["", 'ping_interval: "1s"\nping_max: 1'], ids=["short", "long"])
async def test_a_machine_that_wakes_works_again_and_what_it_had_in_hand_is_forgotten(
    tmp_path: Path, extra: str
) -> None:
    """Else a laptop must be restarted by hand after sleep, or brings back half of yesterday's job.

    In a long sleep the broker ends the connection.
    """
    async with rooms(tmp_path, extra) as room:
        laptop = await room.machine("laptop", "x5")
        await room.seen(lambda nodes: alive(nodes, laptop) == {*ALL_STAGES})
        job = await room.submit()
        await room.at_work(laptop)
        laptop.signal(signal.SIGSTOP)
        desk = await room.machine("desk", "x100")
        await ended(room.connection, job)
        await room.seen(lambda nodes: not alive(nodes, laptop))
        before = await facts(room.connection, job)
        desk.process.terminate()
        await asyncio.to_thread(desk.process.wait, PATIENCE)

        laptop.signal(signal.SIGCONT)
        await room.seen(lambda nodes: alive(nodes, laptop) == {*ALL_STAGES})
        await done_by(room, laptop, await room.submit("20s-1.flac"))
        assert await facts(room.connection, job) == before
        assert "starting it again" not in laptop.log


async def test_a_machine_that_wakes_to_another_store_forgets_the_old_one(tmp_path: Path) -> None:
    """Else its old work disturbs the new store's jobs, or new submissions get the wrong id."""
    async with rooms(tmp_path) as room:
        laptop = await room.machine("laptop", "x5")
        await room.seen(lambda nodes: alive(nodes, laptop) == {*ALL_STAGES})
        await room.submit()
        await room.at_work(laptop)
        laptop.signal(signal.SIGSTOP)
        room.server.kill()
        shutil.rmtree(room.server.folder / "jetstream")
        room.server.start()
        async with await connect(room.server.url, name="test") as after:
            room.connection = after
            await set_up(after, Settings())
            jobs = [await room.submit("20s-1.flac") for _ in range(3)]

            laptop.signal(signal.SIGCONT)
            for job in jobs:
                await done_by(room, laptop, job)
            await room.seen(lambda nodes: alive(nodes, laptop) == {*ALL_STAGES})
            assert {subject.split(".")[2] for subject in await after.subjects(JOBS, "v2t.job.>")} == {*jobs}


# -- the end

CONSUMERS = [(row.stream, consumer) for row in STAGES for consumer in row.consumers]


async def keep_in_hand(connection: Connection) -> None:
    """Let the server wait an hour before it redelivers work in progress."""
    for stream, consumer in CONSUMERS:
        name = f"{stream}.{consumer.durable}"
        config = (await connection.api(f"CONSUMER.INFO.{name}"))["config"] | {"ack_wait": 3600 * 10**9}
        await connection.api(f"CONSUMER.CREATE.{name}", {"stream_name": stream, "config": config})


async def none_in_hand(connection: Connection, stream: str, consumer: Consumer) -> None:
    """No process holds a message of this consumer: each is finished or waits."""
    async with Puller(connection.client, stream, consumer.durable, group=consumer.group) as puller:
        give_up = time.monotonic() + PATIENCE
        while in_hand := (await connection.api(f"CONSUMER.INFO.{stream}.{consumer.durable}"))["num_ack_pending"]:
            assert time.monotonic() < give_up, f"{consumer.durable}: {in_hand}"
            if message := await puller.next(0):
                await message.ack()


async def test_a_node_that_is_stopped_leaves_nothing_in_its_hand(room: Room) -> None:
    """Else the last chunks of a job wait half a minute for a machine that was shut down properly."""
    machine = await room.machine("stopped", "x10")
    await room.seen(lambda nodes: alive(nodes, machine) == {*ALL_STAGES})
    await room.submit()
    await room.submit()
    await room.at_work(machine)
    await keep_in_hand(room.connection)
    machine.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(machine.process.wait, PATIENCE) == 0
    for stream, consumer in CONSUMERS:
        await none_in_hand(room.connection, stream, consumer)
    assert not machine.processes()
    assert not any(word in machine.log for word in ("Traceback", "starting it again", "never retrieved"))


async def test_nothing_outlives_a_node_that_was_killed(room: Room) -> None:
    """Else forgotten engines keep the card's memory."""
    machine = await room.machine("killed", "x5")
    await room.seen(lambda nodes: alive(nodes, machine) == {*ALL_STAGES})
    await room.submit()
    await room.at_work(machine)
    async with asyncio.timeout(PATIENCE):
        while len(machine.processes()) != 1 + len(ALL_STAGES) + 1:  # an engine
            await asyncio.sleep(0.1)
    machine.process.kill()
    machine.process.wait()
    async with asyncio.timeout(PATIENCE):
        while machine.processes():
            await asyncio.sleep(0.1)
