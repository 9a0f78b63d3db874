"""The pipeline against the library called directly, with models as large as those in use, on the best device here."""

import asyncio
import statistics
from pathlib import Path

from tests.benchmarks.direct import direct
from tests.benchmarks.media import recording, seconds
from tests.benchmarks.pipeline import BATCH, cores, pipeline
from tests.benchmarks.report import Row, load, say, spread
from tests.benchmarks.sized import make
from tests.benchmarks.speed import breakdown
from v2t_stream.devices import detect

# On a processor a smaller one has to do, and a shorter file.
_CUDA = (("large-v3-turbo", "large-v3"), 60, 16)
_OTHERS = (("base",), 8, BATCH)
PAIRS = 3  # of each, in turns


async def run(folder: Path) -> list[Row]:
    device = detect("faster-whisper")
    names, minutes, batch = _CUDA if device == "cuda" else _OTHERS
    path = recording(folder, minutes)
    rows = []
    for name in names:
        model = str(make(folder, name))
        runs, alone = [], []
        async with pipeline(folder, cores(), model=model, batch=batch) as ready:
            with direct("faster-whisper", threads=cores(), model=model, batch=batch) as library:
                for _ in range(PAIRS):
                    runs.append(await ready.run(path))
                    say(f"  {name}: pipeline {breakdown(runs[-1])} [{load()}]")
                    alone.append((await asyncio.to_thread(library.transcribe, path)).seconds)
                    say(f"  {name}: direct {alone[-1]:.1f} s")
        ratio = [run.completed / taken for run, taken in zip(runs, alone, strict=True)]
        speed = seconds(path) / statistics.median(run.completed for run in runs)
        rows.append(
            Row(
                f"a model of {name}'s size on {device}, {seconds(path) / 60:.0f} min: time against the library alone",
                "at most 1.10",
                f"{spread(ratio, '.2f', '')}: {spread([run.completed for run in runs])} against {spread(alone)}; "
                f"{speed:.0f} times real time",
                statistics.median(ratio) <= 1.10,
            )
        )
    return rows
