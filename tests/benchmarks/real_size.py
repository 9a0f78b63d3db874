"""The pipeline against the library called directly, with models as large as those in use, on the best device here."""

import statistics
from pathlib import Path

from tests.benchmarks.direct import direct
from tests.benchmarks.media import recording, seconds
from tests.benchmarks.pipeline import BATCH, cores, pipeline
from tests.benchmarks.report import Row
from tests.benchmarks.sized import make
from tests.benchmarks.speed import in_turns, ratio_row
from v2t_stream.host.devices import detect

# On a processor a smaller one has to do, and a shorter file.
_CUDA = (("large-v3-turbo", "large-v3"), 60, 16)
_OTHERS = (("base",), 8, BATCH)


async def run(folder: Path) -> list[Row]:
    device = detect("faster-whisper")
    names, minutes, batch = _CUDA if device == "cuda" else _OTHERS
    path = recording(folder, minutes)
    rows = []
    for name in names:
        model = str(make(folder, name))
        what = f"a model of {name}'s size on {device}, {seconds(path) / 60:.0f} min"
        async with pipeline(folder, cores(), model=model, batch=batch) as ready:
            with direct("faster-whisper", threads=cores(), model=model, batch=batch) as library:
                runs, alone = await in_turns(name, ready, library, path)
        speed = seconds(path) / statistics.median(run.completed for run in runs)
        rows += [ratio_row(what, runs, alone), Row("… its speed", "", f"{speed:.0f} times real time")]
    return rows
