"""Twelve minutes of real speech with a real model, against faster-whisper's batched pipeline called directly."""

from pathlib import Path

from tests.benchmarks.direct import direct
from tests.benchmarks.pipeline import BATCH, cores, pipeline
from tests.benchmarks.report import Row
from tests.benchmarks.speed import in_turns, speed_rows
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
    what = f"{speech.seconds / 60:.0f} min of real speech with a real model, {cores()} threads"
    return speed_rows(what, runs, alone, target=0.85)
