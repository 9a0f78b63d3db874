"""Finds the voices of a chunk, window by window."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from schemas.chunks import SAMPLE_RATE, Span
from schemas.speakers import Voice, Window
from v2t_stream.speakers.embedding import as_bytes
from v2t_stream.speakers.frames import FRAME, Frames, runs
from v2t_stream.speakers.models import WINDOW, Samples, models

STEP: Final = 5 * SAMPLE_RATE  # samples between two windows: every moment is heard twice
_ENOUGH: Final = 0.4  # seconds in which somebody must speak alone; else what others say at the same time is heard too
_LEAST: Final = SAMPLE_RATE // 2  # samples at the end of a span that are worth a window of their own
_LONG: Final = 1.0  # seconds of a turn in which a voice can be recognized


def windows(samples: Samples, spans: Sequence[Span]) -> tuple[Window, ...]:
    """The voices in a chunk. `samples`: those of its spans, one after the other.

    A window never crosses the joint of two spans, which lie apart in the source.
    """
    found = []
    before = 0
    for span in spans:
        for start, length in _windows(span):
            first = before + start - span.start
            found.append(Window(start, length, tuple(_voices(samples[first : first + length], start))))
        before += span.length
    return tuple(found)


def _windows(span: Span) -> Iterator[tuple[int, int]]:
    """First sample in the source and length of each window in a span; the last one ends with the span."""
    start, end = span.start, span.start + span.length
    yield start, min(span.length, WINDOW)
    while end - (start + WINDOW) >= _LEAST:
        start = min(start + STEP, end - WINDOW)
        yield start, WINDOW


def _voices(samples: Samples, start: int) -> Iterator[Voice]:
    active = models().active(samples)
    single = active.sum(axis=1) == 1
    for person, mine in enumerate(active.T):
        for part in _parts(mine, single):
            alone = part & single
            heard = alone if alone.sum() * FRAME >= _ENOUGH * SAMPLE_RATE else part
            chosen = samples[: heard.size * FRAME][np.repeat(heard, FRAME)]
            vector = models().embedding(chosen)
            yield Voice(
                person,
                tuple((start + first * FRAME, (end - first) * FRAME) for first, end in runs(part)),
                round(chosen.size / SAMPLE_RATE, 2),
                b"" if vector is None else as_bytes(vector),
            )


def _parts(mine: Frames, single: Frames) -> Iterator[Frames]:
    """What one person of a window says, around each long turn of theirs: the model may take two people for one.

    Whether they are one is decided by how they sound, over the whole recording.
    """
    turns = list(runs(mine))
    if not turns:
        return
    long = [turn for turn in turns if single[slice(*turn)].sum() * FRAME >= _LONG * SAMPLE_RATE]
    centres = np.array([first + end for first, end in long or turns[:1]])
    nearest = [int(np.abs(centres - (first + end)).argmin()) for first, end in turns]
    for place in range(len(centres)):
        part = np.zeros_like(mine)
        for turn, seed in zip(turns, nearest, strict=True):
            if seed == place:
                part[slice(*turn)] = True
        yield part
