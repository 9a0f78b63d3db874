"""A thousand submissions at once on one node: what its processes hold meanwhile, and how much is in work at once.

`uv run python -m tests.benchmarks.crowd [JOBS]`: it is no row of the table, as it takes minutes.
"""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import click

from schemas.requests import SubmitRequest
from tests.benchmarks.processes import memory, running
from tests.harness import DATA, broker, node, upload
from tests.simulated import install
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs.submission import submit
from v2t_stream.topology.streams import JOBS

_MIB = 1 << 20
_QUARTERS = 4


async def crowd(jobs: int, folder: Path) -> None:
    """Print, for each process, the memory after each quarter of the jobs, its most, and its slots in use at most."""
    async with broker(folder / "nats") as (server, connection):
        environment = {**install(folder / "simulated"), "V2T_MODEL": "x1000", "V2T_NODE": "one"}
        with node(server.url, folder / "home", **environment):
            media = await upload(connection, DATA / "5s.flac")
            begun = time.perf_counter()
            for n in range(jobs):
                await submit(connection, SubmitRequest(media=media, title=f"job {n}", language="en"))
            click.echo(f"{jobs} submitted in {time.perf_counter() - begun:.1f} s")
            held: dict[str, list[int]] = defaultdict(list)
            most: dict[str, int] = defaultdict(int)
            slots: dict[str, int] = {}
            for quarter in range(1, _QUARTERS + 1):
                while len(await connection.subjects(JOBS, "v2t.job.*.completed")) < jobs * quarter // _QUARTERS:
                    for info in await fleet(connection):
                        most[info.stage] = max(most[info.stage], len(info.working))
                        slots[info.stage] = info.slots
                    await asyncio.sleep(0.3)
                for stage, pid in running().items():
                    held[stage].append(memory(pid, "VmRSS") // _MIB)
                click.echo(f"{quarter}/{_QUARTERS} done after {time.perf_counter() - begun:.0f} s")
            for stage, pid in running().items():
                used = f", {most[stage]} of {slots[stage]} slots" if stage in slots else ""
                click.echo(f"{stage}: {held[stage]} MiB, at most {memory(pid, 'VmHWM') // _MIB}{used}")
            if failed := await connection.subjects(JOBS, "v2t.job.*.failed"):
                click.echo(f"failed: {len(failed)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(crowd(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path(scratch)))
