"""Whether the words and their times are right, end to end, for each engine."""

import asyncio
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.transcript import Segment
from tests.benchmarks.direct import direct
from tests.benchmarks.pipeline import BATCH, cores, pipeline
from tests.benchmarks.report import Row
from tests.harness import DATA, reference
from v2t_stream.demo.wer import word_errors, words

LENGTHS = {"20 s": ("20s-1.flac", "20s-2.flac", "20s-3.flac"), "3 min": ("3min.ogg",)}


async def run(folder: Path) -> list[Row]:
    rows = []
    for engine in ("faster-whisper", "whisper-cpp"):
        heard: dict[str, Sequence[Segment]] = {}
        alone: dict[str, Sequence[Segment]] = {}
        async with pipeline(folder, cores(), engine) as ready:
            with direct(engine, threads=cores(), batch=BATCH) as library:
                for clip in (clip for group in LENGTHS.values() for clip in group):
                    done = await ready.run(DATA / clip, engine=engine)
                    heard[clip] = (await ready.transcript(done)).segments
                    alone[clip] = (await asyncio.to_thread(library.transcribe, DATA / clip)).segments
        for length, group in LENGTHS.items():
            ours, theirs = _rate(group, heard), _rate(group, alone)
            rows.append(
                Row(
                    f"words wrong, {engine}, {length}",
                    "at most 2 %",
                    f"{ours:.1%} ({theirs:.1%} where the engine alone reads the file)",
                    ours <= 0.02,
                )
            )
            rows.append(_times(f"segment times, {engine}, {length}", group, heard))
    return rows


def _rate(group: Sequence[str], heard: dict[str, Sequence[Segment]]) -> float:
    """Word errors of the clips together."""
    expected = [words(reference(clip)) for clip in group]
    got = [words(" ".join(segment.text for segment in heard[clip])) for clip in group]
    return sum(map(word_errors, expected, got)) / sum(map(len, expected))


def _times(what: str, group: Sequence[str], heard: dict[str, Sequence[Segment]]) -> Row:
    pairs = [pair for clip in group for pair in _aligned(clip, heard[clip])]
    sentences = sum(len(_sentences(clip)) for clip in group)
    starts = [abs(segment.start - start) for segment, start, _ in pairs]
    ends = [abs(segment.end - end) for segment, _, end in pairs]
    return Row(
        what,
        "within 0.5 s",
        f"starts off by {sum(starts) / len(pairs):.2f} s, at most {max(starts):.2f}; ends by "
        f"{sum(ends) / len(pairs):.2f}, at most {max(ends):.2f} ({len(pairs)} of {sentences} sentences)",
        max(starts + ends) <= 0.5,
    )


def _aligned(clip: str, segments: Sequence[Segment]) -> Iterator[tuple[Segment, float, float]]:
    """Each segment that stands for one sentence, with the sentence's start and end.

    Segments and sentences are matched by their words; between two matches, as many segments as sentences are taken
    one by one, for a sentence with a wrong word has times too.
    """
    sentences = _sentences(clip)
    said = [tuple(words(str(sentence["text"]))) for sentence in sentences]
    got = [tuple(words(segment.text)) for segment in segments]
    for _, i, end, j, stop in difflib.SequenceMatcher(None, said, got, autojunk=False).get_opcodes():
        if end - i == stop - j:
            for sentence, segment in zip(sentences[i:end], segments[j:stop], strict=True):
                yield segment, float(sentence["start"]), float(sentence["end"])


def _sentences(clip: str) -> list[dict[str, str | float]]:
    """What is said in a test clip, and when."""
    sentences: dict[str, list[dict[str, str | float]]] = json.loads((DATA / "references.json").read_text())
    return sentences[clip]
