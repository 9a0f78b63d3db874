"""Where a chunk's seconds lie in the source, and which of them are speech."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from schemas.chunks import SAMPLE_RATE, Span
from v2t_stream.transcription.words import Spoken, Stretch

# Seconds. Measured on four minutes of speech whose words have known times: the voice detector reports the onset 0.05 s
# late, at most 0.13; an alignment stretches the first word after a pause back into the silence, by up to 0.4.
_LEAD: Final = 0.05  # a word may start this much before the detected onset,
_TAIL: Final = 0.15  # and end this much after the detected end
_LATE: Final = 0.3  # an alignment puts a word's start up to this much too late
_MERE: Final = 0.15  # speech under a word's edge that is shorter belongs to a neighbour


class Layout:
    """A chunk made of `spans` of the source, and the `speech` that a detector found; both in samples of the source.

    `speech` is None if no detector was used.
    """

    def __init__(self, spans: Sequence[Span], speech: Iterable[Span] | None) -> None:
        if not spans:
            raise ValueError("a chunk has at least one span")
        self._spans = tuple(spans)
        ends = tuple(accumulate(span.length for span in spans))
        self._begins = tuple((end - span.length) / SAMPLE_RATE for end, span in zip(ends, spans, strict=True))
        self.duration = ends[-1] / SAMPLE_RATE
        self.is_detected = speech is not None
        marks = self._spans if speech is None else speech
        self.speech = tuple(stretch for mark in marks for stretch in self._within_chunk(mark))

    def _within_chunk(self, mark: Span) -> Iterable[Stretch]:
        for begin, span in zip(self._begins, self._spans, strict=True):
            start, end = max(mark.start, span.start), min(mark.start + mark.length, span.start + span.length)
            if start < end:
                yield Stretch(begin + (start - span.start) / SAMPLE_RATE, begin + (end - span.start) / SAMPLE_RATE)

    def trimmed(self, words: Iterable[Spoken]) -> list[Spoken]:
        """The words in seconds of the chunk, fitted to the detected speech, in order and within the chunk."""
        trimmed: list[Spoken] = []
        earliest = free = 0.0  # where the previous word starts and ends
        for word in words:
            start, end = word.start, word.end
            if self.is_detected:
                start, end = self._trim(start, end)
                start = self._onset(free, start)
            start = min(max(start, earliest), self.duration)
            end = min(max(end, start), self.duration)
            trimmed.append(word._replace(start=start, end=end))
            earliest, free = start, end
        return trimmed

    def _onset(self, free: float, start: float) -> float:
        """The onset of a word heard at `start`: earlier, if speech began shortly before and after the previous word."""
        for mark in self.speech:
            if free <= mark.start < start <= mark.start + _LATE:
                return max(free, mark.start - _LEAD)
        return start

    def _trim(self, start: float, end: float) -> tuple[float, float]:
        """Cut off the silence that an alignment stretched a word over, at either end."""
        main = max(self.speech, key=lambda mark: mark.overlap(start, end), default=None)
        if main is None or not main.overlap(start, end):
            return start, end
        if start < main.start - _LEAD and self.spoken(start, main.start) < _MERE:
            start = main.start - _LEAD
        if end > main.end + _TAIL and self.spoken(main.end, end) < _MERE:
            end = main.end + _TAIL
        return start, max(start, end)

    def spoken(self, start: float, end: float) -> float:
        """Seconds of speech between two moments of the chunk."""
        return sum(mark.overlap(start, end) for mark in self.speech)

    def placed(self, word: Spoken) -> Spoken:
        """The word in seconds of the source, within the one span in which most of it was heard."""
        span = self._span_of(word.start, word.end)
        return word._replace(start=self._source(word.start, span), end=self._source(word.end, span), span=span)

    def stretches(self, start: float, end: float) -> list[Stretch]:
        """The speech between two moments of the chunk, in seconds of the source; a breath does not split it."""
        found: list[Stretch] = []
        for mark in self.speech:
            if not mark.overlap(start, end):
                continue
            low, high = max(start, mark.start), min(end, mark.end)
            span = self._span_of(low, high)
            low, high = self._source(low, span), self._source(high, span)
            if found and low - found[-1].end < 1.0:
                found[-1] = Stretch(found[-1].start, high)
            else:
                found.append(Stretch(low, high))
        return found

    def _span_of(self, start: float, end: float) -> int:
        """The index of the span that holds most of the time from `start` to `end`."""
        low, high = self._span_at(start), self._span_at(end)
        if low == high:
            return low
        return max(range(low, high + 1), key=lambda n: self._bounds(n).overlap(start, end))

    def _span_at(self, seconds: float) -> int:
        return max(0, bisect_right(self._begins, seconds) - 1)

    def _bounds(self, span: int) -> Stretch:
        return Stretch(self._begins[span], self._begins[span] + self._spans[span].length / SAMPLE_RATE)

    def _source(self, seconds: float, span: int) -> float:
        begin, end = self._bounds(span)
        return round(self._spans[span].start / SAMPLE_RATE + min(max(seconds, begin), end) - begin, 3)
