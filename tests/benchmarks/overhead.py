"""What the pipeline itself costs: chunks a second with an engine that takes no time."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.processes import below, processor_seconds
from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row
from tests.harness import broker, node
from tests.simulated import install

CHUNKS = 3000
_TARGET = 500.0  # chunks a second


class Cost(NamedTuple):
    """What CHUNKS chunks took, from the first put to the transcript that is stored."""

    seconds: float
    processor: float  # seconds, of all processes, the one that puts among them

    @property
    def rate(self) -> float:
        """Chunks a second."""
        return CHUNKS / self.seconds


def processor() -> float:
    """Seconds that this process and all below it have computed."""
    return time.process_time() + sum(processor_seconds({str(pid): pid for pid in below(os.getpid())}).values())


async def cost(folder: Path) -> Cost:
    """One transcribe and one aggregate process, with broker and all on this machine."""
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64"}
    async with broker(folder / "overhead-nats") as (server, connection):
        with node(server.url, folder / "overhead", "transcribe", "aggregate", **settings):
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await until(connection, 1)
            await queue.run({"warm": 50})
            before = processor()
            took, _ = await queue.run({"overhead": CHUNKS})
            return Cost(took, processor() - before)


async def run(folder: Path) -> list[Row]:
    found = await cost(folder)
    return [
        Row(
            "chunks a second through transcribe and aggregate, engine that takes no time",
            f"at least {_TARGET:.0f}",
            f"{found.rate:.0f}, with {found.processor:.1f} processor seconds for {CHUNKS}",
            found.rate >= _TARGET,
        )
    ]
