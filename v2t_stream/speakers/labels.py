"""Names who says each segment, and splits segments in which somebody else goes on."""

import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from schemas.speakers import Window
from schemas.transcript import Segment, Speaker, Word
from v2t_stream.speakers.clusters import NOBODY, Number, centres, speakers
from v2t_stream.speakers.embedding import as_bytes
from v2t_stream.speakers.timeline import Turn, turns

_NEAR: Final = 0.5  # seconds by which a word may miss its speaker's turn


def labelled(
    segments: Iterable[Segment], windows: Sequence[Window], wanted: str
) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """The segments with a speaker each, and the speakers: A, B and so on, in the order in which they first say a word.

    `wanted`: the option `speakers` of the job.
    """
    (said,), people = labelled_by_chunk([segments], windows, wanted)
    return said, people


def labelled_by_chunk(
    chunks: Iterable[Iterable[Segment]], windows: Sequence[Window], wanted: str
) -> tuple[list[tuple[Segment, ...]], tuple[Speaker, ...]]:
    """As `labelled`, with the segments of each chunk apart."""
    found = speakers(windows, number(wanted))
    spoken = _Spoken(turns(windows, found))
    parts = [[part for segment in segments for part in _parts(segment, spoken)] for segments in chunks]
    labels: dict[int, str] = {NOBODY: ""}
    for part in chain.from_iterable(parts):
        labels.setdefault(part.speaker, letters(len(labels) - 1))
    voices = centres(windows, found)
    people = (Speaker(label=label, voice=as_bytes(voices[n])) for n, label in labels.items() if n != NOBODY)
    said = [tuple(replace(part.segment, speaker=labels[part.speaker]) for part in chunk) for chunk in parts]
    return said, tuple(people)


def number(wanted: str) -> Number:
    """How many people the option allows: auto, 2, 2-5."""
    if wanted == "auto":
        return Number()
    least, _, most = wanted.partition("-")
    low, high = sorted((int(least), int(most or least)))
    return Number(low, high)


def letters(place: int) -> str:
    """A to Z, then AA to AZ and so on."""
    before, last = divmod(place, len(string.ascii_uppercase))
    return (letters(before - 1) if before else "") + string.ascii_uppercase[last]


class _Part(NamedTuple):
    segment: Segment
    speaker: int


class _Spoken:
    """Who speaks at a time."""

    def __init__(self, found: Sequence[Turn]) -> None:
        self._starts = np.array([turn.start for turn in found])
        self._ends = np.array([turn.end for turn in found])
        self._speakers = [turn.speaker for turn in found]
        self._latest = np.maximum.accumulate(self._ends) if found else self._ends

    def of(self, start: float, end: float) -> int:
        """Who speaks most of the time from `start` to `end`, or closest to it; NOBODY if nobody does nearby."""
        first = int(np.searchsorted(self._latest, start - _NEAR))
        last = int(np.searchsorted(self._starts, end + _NEAR))
        if first >= last:
            return NOBODY
        shared = np.minimum(self._ends[first:last], end) - np.maximum(self._starts[first:last], start)
        best = int(shared.argmax())
        return self._speakers[first + best] if shared[best] > -_NEAR else NOBODY


def _parts(segment: Segment, spoken: _Spoken) -> Iterator[_Part]:
    """The segment, split where another person goes on."""
    if len(segment.words) <= 1:
        yield _Part(segment, spoken.of(segment.start, segment.end))
        return
    who = _smooth([spoken.of(word.start, word.end) for word in segment.words])
    runs = [
        (speaker, [word for _, word in group])
        for speaker, group in groupby(zip(who, segment.words, strict=True), lambda pair: pair[0])
    ]
    text, begun = segment.text, segment.start
    for n, (speaker, words) in enumerate(runs):
        is_last = n == len(runs) - 1
        mine, text = (text, "") if is_last else _cut(text, words, runs[n + 1][1][0])
        end = segment.end if is_last else words[-1].end
        yield _Part(replace(segment, start=begun, end=max(begun, end), text=mine.strip(), words=tuple(words)), speaker)
        begun = segment.end if is_last else runs[n + 1][1][0].start


def _cut(text: str, words: Sequence[Word], following: Word) -> tuple[str, str]:
    """The text up to the word that follows these, and the rest."""
    place = 0
    for word in words:
        place = max(place, text.find(word.text, place) + len(word.text))
    cut = max(text.find(following.text, place), place)
    return text[:cut], text[cut:]


def _smooth(who: list[int]) -> list[int]:
    """The speakers of the words of a segment, of which no lone word changes hands."""
    runs = [(speaker, len(list(group))) for speaker, group in groupby(who)]
    if len(runs) == 1:
        return who
    kept = [speaker for speaker, length in runs if length > 1 and speaker != NOBODY]
    if not kept:
        most = max((speaker for speaker, _ in runs if speaker != NOBODY), key=who.count, default=NOBODY)
        return [most] * len(who)
    smooth: list[int] = []
    last = kept[0]
    for speaker, length in runs:
        last = speaker if length > 1 and speaker != NOBODY else last
        smooth += [last] * length
    return smooth
