"""What the pipeline itself costs: chunks a second with an engine that takes no time."""

from pathlib import Path

from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row
from tests.harness import broker, node
from tests.simulated import install

_CHUNKS = 3000
_TARGET = 500.0  # chunks a second


async def run(folder: Path) -> list[Row]:
    """One transcribe and one aggregate process, with broker and all on this machine."""
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64"}
    async with broker(folder / "overhead-nats") as (server, connection):
        with node(server.url, folder / "overhead", "transcribe", "aggregate", **settings):
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await until(connection, 1)
            await queue.run({"warm": 50})
            took, _ = await queue.run({"overhead": _CHUNKS})
    rate = _CHUNKS / took
    return [
        Row(
            "chunks a second through transcribe and aggregate, engine that takes no time",
            f"at least {_TARGET:.0f}",
            f"{rate:.0f}",
            rate >= _TARGET,
        )
    ]
