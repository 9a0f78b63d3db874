"""From an engine's times, which count within a chunk, to times in the source."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

from schemas.chunks import SAMPLE_RATE, Span
from schemas.transcript import Segment, Word

Timed = TypeVar("Timed", Segment, Word)


class SpanMap:
    """Maps seconds in a chunk to seconds in the source, by counting samples.

    Where two spans meet, a start belongs to the later one and an end to the earlier: no word is stretched over the
    silence that was dropped between them. Times outside the chunk become its first or last moment.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        if not spans:
            raise ValueError("a chunk has at least one span")
        self._spans = tuple(spans)
        self._ends = tuple(accumulate(span.length for span in spans))  # in the chunk, samples

    def start(self, seconds: float) -> float:
        """Where something starts that the engine heard start at `seconds`."""
        at = seconds * SAMPLE_RATE
        return self._source(at, bisect_right(self._ends, _whole(at)))

    def end(self, seconds: float) -> float:
        """Where something ends that the engine heard end at `seconds`."""
        at = seconds * SAMPLE_RATE
        return self._source(at, bisect_left(self._ends, _whole(at)))

    def _source(self, at: float, index: int) -> float:
        index = min(index, len(self._spans) - 1)
        span = self._spans[index]
        within = at - (self._ends[index] - span.length)
        return (span.start + min(max(within, 0.0), span.length)) / SAMPLE_RATE


def to_source(spans: Sequence[Span], segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Give the segments and their words times in the source, in place of those in the chunk of these `spans`."""
    place = SpanMap(spans)
    return tuple(
        msgspec.structs.replace(_placed(place, segment), words=tuple(_placed(place, word) for word in segment.words))
        for segment in segments
    )


def _placed(place: SpanMap, timed: Timed) -> Timed:
    start = place.start(timed.start)
    # Something of no length on a boundary would end before it starts.
    return msgspec.structs.replace(timed, start=start, end=max(start, place.end(timed.end)))


def _whole(at: float) -> float:
    """Undo the rounding of a sample number's way through seconds; a time between samples stays as it is."""
    nearest = round(at)
    return nearest if abs(at - nearest) < 1e-3 else at
