"""From an engine's times, which count within a chunk, to times in the source."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

from schemas.chunks import SAMPLE_RATE, Span
from schemas.transcript import Segment, Word

Timed = TypeVar("Timed", Segment, Word)

# Engines are off by some hundredths of a second, and round. Two spans meet in the middle of 0.8 s of silence (the
# voice detector leaves 0.4 s on either side of what it drops), so that a start shortly before the boundary means the
# later span and an end shortly after it the earlier. Otherwise a sentence would stand on the screen for all of the
# silence that was dropped there.
SLACK = SAMPLE_RATE // 5  # 0.2 s: half of that silence


class SpanMap:
    """Maps seconds in a chunk to seconds in the source, by counting samples.

    Where two spans meet, a start belongs to the later one and an end to the earlier. Times outside the chunk become
    its first or last moment. Every mapping is monotone and ends within a span.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        if not spans:
            raise ValueError("a chunk has at least one span")
        self._spans = tuple(spans)
        self._ends = tuple(accumulate(span.length for span in spans))  # in the chunk, samples

    def start(self, seconds: float, *, slack: int = SLACK) -> float:
        """Where something starts that the engine heard start at `seconds`."""
        at = _samples(seconds)
        exact = bisect_right(self._ends, at)
        return self._source(at, min(exact + 1, bisect_right(self._ends, at + slack)))

    def end(self, seconds: float, *, slack: int = SLACK) -> float:
        """Where something ends that the engine heard end at `seconds`."""
        at = _samples(seconds)
        exact = bisect_left(self._ends, at)
        return self._source(at, max(exact - 1, bisect_left(self._ends, at - slack)))

    def _source(self, at: float, index: int) -> float:
        index = min(index, len(self._spans) - 1)
        span = self._spans[index]
        within = at - (self._ends[index] - span.length)
        return (span.start + min(max(within, 0), span.length)) / SAMPLE_RATE


def to_source(spans: Sequence[Span], segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Give the segments and their words times in the source, in place of those in the chunk of these `spans`."""
    place = SpanMap(spans)
    return tuple(
        msgspec.structs.replace(_placed(place, segment), words=tuple(_placed(place, word) for word in segment.words))
        for segment in segments
    )


def _placed(place: SpanMap, timed: Timed) -> Timed:
    start, end = place.start(timed.start), place.end(timed.end)
    if end < start:  # it lies wholly in the silence beside a boundary: on whichever side the engine put it
        start = place.start(timed.start, slack=0)
        end = max(start, place.end(timed.end, slack=0))
    return msgspec.structs.replace(timed, start=start, end=end)


def _samples(seconds: float) -> float:
    """Count in samples, without the rounding that a whole number of them suffered as seconds."""
    at = seconds * SAMPLE_RATE
    nearest = round(at)
    return nearest if abs(at - nearest) < 1e-3 else at
