"""How long until something of a long file can be read."""

import statistics
from pathlib import Path

from tests.benchmarks.media import recording
from tests.benchmarks.pipeline import cores, pipeline
from tests.benchmarks.report import Row, spread

MINUTES = 60
TIMES = 3


async def run(folder: Path) -> list[Row]:
    path = recording(folder, MINUTES)
    runs = []
    for _ in range(TIMES):  # each on a pipeline of its own, so that none stands behind the rest of the one before
        async with pipeline(folder, cores()) as ready:
            runs.append(await ready.run(path, until_first=True))
    first = [run.first for run in runs]
    return [
        Row(
            f"first segment of a local file of {MINUTES} min, from the start of its upload",
            "at most 3 s",
            f"{spread(first, '.2f')}, {statistics.median(run.submitted for run in runs):.2f} s of it the upload",
            statistics.median(first) <= 3,
        )
    ]
