"""A long file through the pipeline, against the library called directly on the same file."""

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.direct import Direct, Heard, direct
from tests.benchmarks.media import recording, seconds, spoken
from tests.benchmarks.pipeline import BATCH, Pipeline, Run, cores, pipeline
from tests.benchmarks.report import Row, load, say, spread
from v2t_stream.demo.wer import word_error_rate

MINUTES = 60
PAIRS = 3  # of each, in turns


async def run(folder: Path) -> list[Row]:
    """One worker with one thread, and one with as many as there are cores."""
    path = recording(folder, MINUTES)
    rows = []
    for threads in sorted({1, cores()}):
        async with pipeline(folder, threads) as ready:
            with direct("faster-whisper", threads=threads, batch=BATCH) as library:
                runs, alone = await in_turns(f"{threads} threads", ready, library, path)
            text = " ".join(segment.text for segment in (await ready.transcript(runs[-1])).segments)
        rows += speed_rows(f"{seconds(path) / 60:.0f} min, {threads} thread{'s' * (threads > 1)}", runs, alone)
        ours, theirs = (word_error_rate(spoken(MINUTES), words) for words in (text, alone[-1].text))
        rows.append(
            Row(
                f"… words wrong, {threads} thread{'s' * (threads > 1)}",
                "at most 0.5 points more",
                f"{ours:.2%} against {theirs:.2%}",
                ours - theirs <= 0.005,
            )
        )
    return rows


async def in_turns(what: str, ready: Pipeline, library: Direct, path: Path) -> tuple[list[Run], list[Heard]]:
    """The same file through the pipeline and through the library alone."""
    runs: list[Run] = []
    alone: list[Heard] = []
    for _ in range(PAIRS):
        runs.append(await ready.run(path))
        say(f"  {what}: pipeline {breakdown(runs[-1])} [{load()}]")
        alone.append(await asyncio.to_thread(library.transcribe, path))
        say(f"  {what}: direct {alone[-1].seconds:.1f} s, processor {alone[-1].processor:.1f} [{load()}]")
    return runs, alone


def ratio_row(what: str, runs: Sequence[Run], alone: Sequence[Heard], target: float = 1.10) -> Row:
    ratio = [run.completed / heard.seconds for run, heard in zip(runs, alone, strict=True)]
    return Row(
        f"{what}: time against the library alone",
        f"at most {target:.2f}",
        f"{spread(ratio, '.2f', '')}: {spread([run.completed for run in runs])} against "
        f"{spread([heard.seconds for heard in alone])}",
        statistics.median(ratio) <= target,
    )


def speed_rows(what: str, runs: Sequence[Run], alone: Sequence[Heard], target: float = 1.10) -> list[Row]:
    """How the times compare, and where they went; `target` is for the ratio."""
    return [
        ratio_row(what, runs, alone, target),
        Row("… where the time went", "", breakdown(sorted(runs, key=lambda run: run.completed)[len(runs) // 2])),
        # Less disturbed than the clock by what else the machine does; it says how much the pipeline adds as work.
        Row(
            "… processor seconds, broker and all stages, against the library alone",
            "",
            f"{spread([sum(run.processor.values()) for run in runs])} against "
            f"{spread([heard.processor for heard in alone])}",
        ),
    ]


def breakdown(run: Run) -> str:
    """A run in words."""
    processor = sorted(run.processor.items(), key=lambda item: -item[1])
    return (
        f"{run.completed:.1f} s: upload {run.uploaded:.2f}, first segment {run.first:.2f}, converted at "
        f"{run.converted:.1f}, engine in calls for {run.engine:.1f} ({run.engine / run.completed:.0%}), "
        f"{run.completed - run.last:.2f} after the last chunk; processor seconds: "
        + ", ".join(f"{name} {taken:.1f}" for name, taken in processor if taken >= 0.1)
    )
