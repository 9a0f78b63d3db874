"""Words and their times with a real model, for each engine, with its library's own ways beside it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from schemas.transcript import Segment, Transcript
from tests.benchmarks.direct import Direct, direct
from tests.benchmarks.pipeline import BATCH, Pipeline, cores, pipeline
from tests.benchmarks.report import Row, say
from tests.real_model import real_model
from tests.real_speech import NOVEL, SONNETS, Score, Speech, Starts, joined, parted, recording, written
from tests.sounds import NOTHING_SAID, samples

_PAUSES = (1, 2, 5, 60, 1, 2, 5, 1, 2, 5, 1, 2, 5, 1, 2, 5, 600, 1, 2, 5)  # seconds between sentences, in turn
_QUIET = 30  # seconds of each sound without words


async def run(folder: Path) -> list[Row]:
    novel = recording(NOVEL)
    spoken = {
        "sonnets": joined(map(recording, SONNETS), [1]),
        "novel": novel,
        "novel with pauses": joined(parted(novel), _PAUSES),
    }
    sounds = {name: Speech(samples(make(_QUIET)), ()) for name, make in NOTHING_SAID.items()}
    files = {name: written(folder, name, speech) for name, speech in (spoken | sounds).items()}
    rows = []
    for engine in ("faster-whisper", "whisper-cpp"):
        model = str(real_model(engine))
        async with pipeline(folder, cores(), engine, model=model) as ready:
            heard = {name: await _heard(ready, engine, path) for name, path in files.items()}
        with direct(engine, threads=cores(), batch=BATCH, model=model) as library:
            for name in ("sonnets", "novel"):
                alone = await asyncio.to_thread(_alone, library, files[name], spoken[name])
                rows += _word_rows(f"{engine}, {name}", Score.of(spoken[name], heard[name].segments), alone)
        pauses = "novel with pauses"
        rows.append(Row(f"words wrong, {engine}, {pauses}", "", str(Score.of(spoken[pauses], heard[pauses].segments))))
        rows += [_times_row(f"{engine}, {name}", spoken[name], heard[name].segments) for name in ("novel", pauses)]
        rows.append(_audit_row(engine, [heard[name] for name in spoken]))
        rows += [_quiet_row(f"{engine}, {name}", heard[name].segments) for name in sounds]
    return rows


async def _heard(ready: Pipeline, engine: str, path: Path) -> Transcript:
    done = await ready.run(path, engine=engine, word_timestamps=True)
    say(f"  {engine}, {path.stem}: {done.completed:.1f} s")
    return await ready.transcript(done)


def _alone(library: Direct, path: Path, speech: Speech) -> dict[str, Score]:
    """How each way of the library does."""
    return {mode: Score.of(speech, library.transcribe(path, mode).segments) for mode in library.modes}


def _word_rows(what: str, ours: Score, alone: dict[str, Score]) -> list[Row]:
    best = min(alone.values(), key=lambda score: score.wrong)
    beside = "; ".join(f"{mode}: {score}" for mode, score in alone.items())
    return [
        Row(
            f"words wrong, {what}",
            "at most 0.5 points above the library's best way",
            f"{ours}; {beside}",
            ours.wrong <= best.wrong + 0.005,
        ),
        Row(
            f"words lost, {what}",
            "at most 1.0 point above that way",
            f"{ours.lost:.1%} against {best.lost:.1%}",
            ours.lost <= best.lost + 0.01,
        ),
    ]


def _times_row(what: str, speech: Speech, segments: Sequence[Segment]) -> Row:
    starts = Starts.of(speech, segments)
    before = speech.sentences[starts.worst - 1].end if starts.worst else 0.0
    return Row(
        f"starts of sentences, {what}",
        "95 % within 0.30 s, none off by more than 1 s or early by more than 0.5 s",
        f"off by {starts.within(0.5):.2f} s (median), 95 % within {starts.within(0.95):.2f}, at worst by "
        f"{starts.offsets[starts.worst]:+.2f}, after a pause of {speech.sentences[starts.worst].start - before:.1f} s; "
        f"the earliest {starts.earliest:+.2f} ({len(starts.offsets)} of {starts.sentences} sentences)",
        starts.within(0.95) <= 0.30 and starts.within(1) <= 1 and starts.earliest >= -0.5,
    )


def _audit_row(engine: str, transcripts: Sequence[Transcript]) -> Row:
    told = [mark for heard in transcripts for mark in (*heard.gaps, *heard.unheard, *heard.doubtful)]
    return Row(
        f"told as unheard or doubtful in all of this, {engine}",
        "nothing",
        ", ".join(f"{mark.start:.1f} to {mark.end:.1f} s" for mark in told) or "nothing",
        not told,
    )


def _quiet_row(what: str, segments: Sequence[Segment]) -> Row:
    text = " ".join(segment.text for segment in segments)
    return Row(f"nothing said: {what}", "no words", f"“{text}”" if text else "none", not text)
