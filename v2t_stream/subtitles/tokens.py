"""The pieces of a segment between which a line may break, each with its time."""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from schemas.transcript import Segment
from v2t_stream.subtitles.width import columns

# Scripts that are written without spaces: Han, Kana, Bopomofo, full-width forms. Hangul has spaces.
_NO_SPACES: Final = r"\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_PIECE: Final = re.compile(rf"[{_NO_SPACES}]|(?:[^\s{_NO_SPACES}]|[\u00a0\u202f])+")
# What may not begin a line: closing marks, and the small Kana (JIS X 4051, "kinsoku shori").
_MARKS: Final = "、。，．・：；？！…‥」』）】〉》’”)]}>.,!?:;%"  # noqa: RUF001  marks of many scripts
_SMALL: Final = "ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_CLOSING: Final = re.compile(rf"[\W_]*[{re.escape(_MARKS)}{_SMALL}]")
_OPENING: Final = re.compile(r"[「『（【〈《‘“(\[{<]$")  # noqa: RUF001  marks of many scripts, as above


class Token(NamedTuple):
    text: str
    spaced: bool  # whether a space stands before it, unless it begins a line
    start: float  # seconds
    end: float  # seconds
    speaker: str = ""


def tokens(segment: Segment, widest: float = math.inf) -> list[Token]:
    """The pieces of a segment's text; none is wider than `widest` letters.

    A piece has the time of its word. Where a word has no time of its own, it has its share of the time between its
    neighbours, by letters.
    """
    text = segment.text.strip()
    pieces = [piece for found in _unbroken(text) for piece in _narrow(*found, text, widest)]
    return [
        Token(text[start:end], _spaced(text, start), *time, segment.speaker)
        for (start, end), time in zip(pieces, _times(segment, text, pieces), strict=True)
    ]


def _spaced(text: str, place: int) -> bool:
    return text[place - 1].isspace() if place else not re.match(f"[{_NO_SPACES}]", text)


def has_times(segment: Segment) -> bool:
    """Whether its words have times of their own."""
    return bool(segment.words) or len(segment.text.split()) <= 1


def _unbroken(text: str) -> Iterator[tuple[int, int]]:
    """Where each word of `text` begins and ends; a mark stays with what it closes or opens."""
    begun = ended = None
    for found in _PIECE.finditer(text):
        stays = ended == found.start() and (
            _CLOSING.match(found[0]) is not None or _OPENING.search(text[:ended][-1:]) is not None
        )
        if begun is None:
            begun = found.start()
        elif not stays:
            yield begun, ended or 0
            begun = found.start()
        ended = found.end()
    if begun is not None:
        yield begun, ended or 0


def _narrow(start: int, end: int, text: str, widest: float) -> Iterator[tuple[int, int]]:
    """The piece, in parts if it is too wide for a line."""
    begun = start
    for place in range(start + 1, end + 1):
        if place < end and columns(text[begun : place + 1]) <= widest:
            continue
        yield begun, place
        begun = place


def _times(segment: Segment, text: str, pieces: Sequence[tuple[int, int]]) -> Iterator[tuple[float, float]]:
    """The start and end of each piece, in seconds."""
    clock = _clock(segment, text)
    last = segment.start
    for start, end in pieces:
        began = max(last, _at(clock, start, after=True))
        ended = max(began, _at(clock, end, after=False))
        yield began, ended
        last = began


def _clock(segment: Segment, text: str) -> list[tuple[int, float]]:
    """Places in the text and their times, in order: where each timed word begins and ends."""
    known = [(0, segment.start)]
    place = 0
    for word in segment.words:
        found = text.find(word.text, place)
        if found < 0:
            continue
        place = found + len(word.text)
        known += [(found, word.start), (place, word.end)]
    known.append((len(text), segment.end))
    return known


def _at(clock: Sequence[tuple[int, float]], place: int, *, after: bool) -> float:
    """The time at a place of the text; `after`: of what begins there, else of what ends there."""
    exact = [time for at, time in clock if at == place]
    if exact:
        return exact[-1] if after else exact[0]
    before, behind = next((one, two) for one, two in pairwise(clock) if one[0] < place < two[0])
    share = (place - before[0]) / (behind[0] - before[0])
    return before[1] + share * (behind[1] - before[1])
