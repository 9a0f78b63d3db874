"""Fifty unlike nodes share one job: against the lower bound, total work over total speed.

`python -m tests.benchmarks.many_nodes NAME=SPEED…` is a process with several nodes in it. Each has all that a process
of `v2t stage transcribe` has: a connection, a presence, a worker, a look-out for stragglers, and an engine process of
its own. Only the engine is simulated, and that they share an interpreter is for the sake of two cores.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from schemas.chunks import CHUNK_SECONDS
from tests.benchmarks.overhead import processor
from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row
from tests.harness import broker, node
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.fleet.presence import Presence, announce
from v2t_stream.host.tasks import end
from v2t_stream.runtime.stage import Resources, load_stage
from v2t_stream.runtime.stragglers import help_out
from v2t_stream.runtime.worker import Worker
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore

# Times real time. So slow that what the machine underneath does for 50 nodes is little beside what they simulate.
SPEEDS = (20,) * 10 + (15,) * 20 + (10,) * 15 + (4,) * 5
CHUNKS = 2000
SECONDS = 27.0  # of media in a chunk: what packing leaves of 30 on average
_TOGETHER = 10  # nodes in a process


async def run(folder: Path) -> list[Row]:
    bound = CHUNKS * SECONDS / sum(SPEEDS)
    settings = install(folder / "simulated")
    async with broker(folder / "many-nats") as (server, connection):
        with (
            node(server.url, folder / "many-hub", "aggregate", **settings),
            _nodes(folder / "many", settings | {"NATS_URL": server.url, "V2T_DATA_DIR": str(folder / "many")}),
        ):
            queue = Queue(connection, SECONDS)
            await queue.prepare()
            await until(connection, len(SPEEDS))
            await queue.run({"warm": 3 * len(SPEEDS)})  # so that each has measured itself
            before = processor()
            took, _ = await queue.run({"many": CHUNKS})
            cores = (processor() - before) / took
    speeds = ", ".join(map(str, sorted(set(SPEEDS))))
    return [
        Row(
            f"{CHUNKS:,} chunks on {len(SPEEDS)} nodes of {speeds} times real time (engines simulated, ten nodes in a "
            "process), against total work over total speed",
            "at most 1.10",
            f"{took / bound:.3f} ({took:.1f} s against {bound:.1f}), broker and nodes kept {cores:.1f} cores busy",
            took / bound <= 1.10,
        )
    ]


@contextlib.contextmanager
def _nodes(home: Path, settings: dict[str, str]) -> Iterator[None]:
    """The processes with all nodes; in each of them some fast and some slow ones."""
    home.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")} | settings
    named = [f"node{n:02}={speed}" for n, speed in enumerate(SPEEDS)]
    processes = -(-len(named) // _TOGETHER)
    with contextlib.ExitStack() as stack:
        for n in range(processes):
            log = stack.enter_context((home / f"nodes-{n}.log").open("wb"))
            command = [sys.executable, "-m", "tests.benchmarks.many_nodes", *named[n::processes]]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            stack.callback(process.terminate)
        yield


async def _node(settings: Settings, stop: asyncio.Event) -> None:
    """What `v2t stage transcribe` runs."""
    async with await connect(settings.nats_url, name=settings.node, patience=60) as connection:
        presence = Presence(settings.node, "transcribe")
        resources = Resources(settings, connection, JetStreamStore(connection), presence)
        worker = Worker(load_stage("transcribe", resources), resources)
        aside = [
            asyncio.create_task(announce(connection, presence)),
            asyncio.create_task(help_out(connection, worker, presence, CHUNK_SECONDS)),
        ]
        await worker.run(stop)
        await end(*aside)


async def _together(named: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings.from_environment()
    async with asyncio.TaskGroup() as group:
        for one in named:
            name, _, speed = one.partition("=")
            group.create_task(_node(msgspec.structs.replace(settings, node=name, model=f"x{speed}"), stop))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvloop.run(_together(sys.argv[1:]))
