"""Twelve minutes of real speech with a real model, against faster-whisper's batched pipeline called directly."""

import statistics
from pathlib import Path

from tests.benchmarks.direct import direct
from tests.benchmarks.pipeline import BATCH, cores, pipeline
from tests.benchmarks.report import Row, spread
from tests.benchmarks.speed import breakdown, in_turns
from tests.real_model import real_model
from tests.real_speech import NOVEL, SONNETS, joined, recording, written


async def run(folder: Path) -> list[Row]:
    """Broker and decoding included, both with all cores."""
    novel, (first, second) = recording(NOVEL), map(recording, SONNETS)
    speech = joined([novel, first, novel, second, novel], [1])
    path = written(folder, "real_speed", speech)
    model = str(real_model("faster-whisper"))
    async with pipeline(folder, cores(), model=model) as ready:
        with direct("faster-whisper", threads=cores(), batch=BATCH, model=model) as library:
            runs, alone = await in_turns("a real model", ready, library, path)
    ratio = [run.completed / heard.seconds for run, heard in zip(runs, alone, strict=True)]
    what = f"{speech.seconds / 60:.0f} min with a real model, {cores()} threads"
    return [
        Row(
            f"{what}: time against the library's batched pipeline alone",
            "at most 0.85",
            f"{spread(ratio, '.2f', '')}: {spread([run.completed for run in runs])} against "
            f"{spread([heard.seconds for heard in alone])}",
            statistics.median(ratio) <= 0.85,
        ),
        Row("… where the time went", "", breakdown(sorted(runs, key=lambda run: run.completed)[len(runs) // 2])),
    ]
