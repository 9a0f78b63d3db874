"""Whether memory stays flat over a file of hours."""

from pathlib import Path

from tests.benchmarks.media import recording, seconds
from tests.benchmarks.pipeline import cores, pipeline
from tests.benchmarks.processes import memory, running
from tests.benchmarks.report import Row, say
from tests.benchmarks.speed import breakdown

HOURS = 4
LIMIT = 300  # MB
_MB = 1_000_000


async def run(folder: Path) -> list[Row]:
    """How much more than at its start each process held at most. Only convert has a limit."""
    path = recording(folder, HOURS * 60)
    async with pipeline(folder, cores(), fresh=True) as ready:
        pids = running()
        before = {name: memory(pid, "VmRSS") / _MB for name, pid in pids.items()}
        done = await ready.run(path)
        pids = running()
        most = {name: memory(pid, "VmHWM") / _MB for name, pid in pids.items()}
        say(f"  {breakdown(done)}")
    rows = []
    for name in ("convert", "transcribe", "engine", "aggregate", "nats-server"):
        growth = most[name] - before.get(name, 0)
        rows.append(
            Row(
                f"memory of {name} over a file of {seconds(path) / 3600:.1f} h",
                f"at most {LIMIT} MB more" if name == "convert" else "",
                f"{growth:.0f} MB more: {before.get(name, 0):.0f}, then at most {most[name]:.0f}",
                growth <= LIMIT if name == "convert" else None,
            )
        )
    return rows
