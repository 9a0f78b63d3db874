"""Words with times, from whatever an engine gives: aligned words, or segments of text with a start and an end."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.transcript import Segment


class Spoken(NamedTuple):
    """One word with its time: at first in seconds of the chunk, in the end in seconds of the source."""

    start: float
    end: float
    text: str  # with the space before it, in a language that has spaces
    probability: float | None = None
    is_timed: bool = True  # False: its time is its share of a segment, by characters
    span: int = 0  # the span of its chunk in which it was heard


class Stretch(NamedTuple):
    """Seconds, of the chunk or of the source."""

    start: float
    end: float

    def overlap(self, start: float, end: float) -> float:
        """The seconds shared with the time from `start` to `end`."""
        return max(0.0, min(self.end, end) - max(self.start, start))

    def shifted(self, seconds: float) -> "Stretch":
        return Stretch(self.start + seconds, self.end + seconds)


def spoken(segments: Iterable[Segment], speech: Sequence[Stretch]) -> Iterator[Spoken]:
    """The words of an engine's segments; `speech` says where words without a time of their own can be."""
    for segment in segments:
        if not any(map(str.isalnum, segment.text)):
            continue  # notes and full stops, which some models write for music or noise
        if segment.words:
            yield from _timed(segment)
        else:
            yield from _shared_out(segment, speech)


def _timed(segment: Segment) -> Iterator[Spoken]:
    """The segment's words, each with what separates it from the previous word: a space, or nothing."""
    rest = segment.text
    last = len(segment.words) - 1
    for n, word in enumerate(segment.words):
        before, found, after = rest.partition(word.text)
        text = before + found if found else f" {word.text}"
        rest = after if found else rest
        if n == last and found:
            text += rest
        yield Spoken(word.start, word.end, text if n else f" {text.lstrip()}", word.probability)


def _shared_out(segment: Segment, speech: Sequence[Stretch]) -> Iterator[Spoken]:
    """The words of a segment without word times, spread over the speech in it by their share of its characters."""
    texts = _pieces(segment.text)
    bounds = [
        (max(mark.start, segment.start), min(mark.end, segment.end))
        for mark in speech
        if mark.overlap(segment.start, segment.end)
    ] or [(segment.start, segment.end)]
    length, characters = sum(end - start for start, end in bounds), sum(map(len, texts))
    done = 0
    for text in texts:
        start = _along(bounds, length * done / characters)
        done += len(text)
        yield Spoken(start, max(start, _along(bounds, length * done / characters, is_end=True)), text, is_timed=False)


def _pieces(text: str) -> list[str]:
    """Words with the space before each; single characters if there are no spaces, as in Chinese."""
    pieces = [f" {piece}" for piece in text.split()]
    if len(pieces) <= 1 < len(text.strip()) / 20:
        return [f" {text.strip()[0]}", *text.strip()[1:]]
    return pieces


def _along(bounds: Sequence[tuple[float, float]], seconds: float, *, is_end: bool = False) -> float:
    """The moment after `seconds` of the bounds; where two bounds meet, an end belongs to the earlier one."""
    for start, end in bounds:
        length = end - start
        if seconds < length or (is_end and seconds <= length + 1e-9):
            return start + min(seconds, length)
        seconds -= length
    return bounds[-1][1]


_WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]")


def width(text: str) -> int:
    """Characters as a screen counts them: those of Chinese, Japanese and Korean are two wide."""
    return len(text) + len(_WIDE.findall(text))
