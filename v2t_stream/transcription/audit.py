"""Compares the words of a chunk with the speech in it: what was missed, and what may never have been said."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.words import Spoken, Stretch, width

# Seconds. In a quarter of an hour of read speech and meetings that was decoded well, no hole was this long. Where an
# engine dropped the ends of windows, every hole was.
_REACH: Final = 0.3  # a word accounts for the speech this far on either side of it
_HOLE: Final = 1.4  # speech in a row between two words: 2 s, less the reach of both,
_SCATTERED: Final = 3.0  # or this much in all: a laugh and a cough are shorter
_BREATH: Final = 0.5  # a silence this short does not split speech
_NEAR_REACH: Final = 0.1  # reach and hole, when single words count
_LOST_WORD: Final = 0.2
_LONGEST_WORD: Final = 1.5  # a longer one was stretched over something that was missed
_OFF: Final = 0.5  # a word this far from any speech is doubtful

_REPEATS: Final = 6  # times the same words in a row; a refrain repeats less, or a doubt about it does no harm
_LONGEST_PHRASE: Final = 12  # words
_RUN: Final = 20  # words over which speed is measured, as alignments put a few of them too close together
_HASTE: Final = 40.0  # characters a second; the fastest speakers reach 30,
_CROWDED: Final = 25.0  # and what is heard a second time, perhaps in noise, is not believed above this


class Hole(NamedTuple):
    """A stretch of the chunk between two words that has speech, but no words."""

    start: float  # seconds of the chunk
    end: float


class Doubted(NamedTuple):
    """A stretch of the chunk whose words may never have been said."""

    start: float  # seconds of the chunk
    end: float
    reason: str


def holes(words: Sequence[Spoken], layout: Layout, *, distrust: bool = False) -> list[Hole]:
    """The stretches of speech without a word, in order; none if no detector has marked the speech.

    `distrust`: the engine is known to have lost words in this chunk, so look for single missing words too.
    """
    if not layout.is_detected:
        return []
    reach = _NEAR_REACH if distrust else _REACH
    sure = [word for word in words if _is_sound(word)]
    bounds = [0.0, *(edge for word in sure for edge in (word.start, word.end)), layout.duration]
    found = []
    for n in range(0, len(bounds), 2):
        start, end = bounds[n], bounds[n + 1]
        low = start + reach if n else start
        high = end - reach if n + 2 < len(bounds) else end
        if low < high and _is_missed(layout, low, high, distrust=distrust):
            found.append(Hole(start, end))
    return found


def _is_missed(layout: Layout, low: float, high: float, *, distrust: bool) -> bool:
    """Whether there is enough speech between two moments that words must be missing."""
    total = run = 0.0
    last = low
    for mark in layout.speech:
        seconds = mark.overlap(low, high)
        if seconds:
            run = seconds + (run if mark.start - last < _BREATH else 0.0)
            total, last = total + seconds, mark.end
            if run >= (_LOST_WORD if distrust else _HOLE) or total >= _SCATTERED:
                return True
    return False


def is_crowded(words: Sequence[Spoken], hole: Hole, layout: Layout) -> bool:
    """Whether the engine heard more in a hole than anyone can have said in it, as engines do in noise."""
    said = sum(width(word.text) for word in words)
    return said > _CROWDED * (layout.spoken(hole.start, hole.end) + _REACH)


def filled(words: Sequence[Spoken], hole: Hole, heard: Sequence[Spoken]) -> list[Spoken]:
    """The words, with those `heard` in the hole instead of the words that were stretched over it; seconds of the chunk.

    A neighbour that was heard a second time at the edge counts once.
    """
    if not heard:
        return list(words)
    before = [word for word in words if word.end <= hole.start]
    after = [word for word in words if word.start >= hole.end and word not in before]
    new = list(heard)
    if before and _same(before[-1], new[0]):
        new = new[1:]
    if after and new and _same(after[0], new[-1]):
        new = new[:-1]
    return [*before, *new, *after]


def doubts(words: Sequence[Spoken], layout: Layout) -> list[Doubted]:
    """What an engine may have made up: words outside all speech, loops, more words than a person can say."""
    return sorted([*_outside(words, layout), *_loops(words), *_hasty(words)])


def _is_sound(word: Spoken) -> bool:
    return word.end - word.start <= _LONGEST_WORD


def _same(one: Spoken, other: Spoken) -> bool:
    return _plain(one) == _plain(other) and abs(one.start - other.start) < 2 * _LONGEST_WORD


def _plain(word: Spoken) -> str:
    return re.sub(r"\W", "", word.text).casefold()


def _outside(words: Sequence[Spoken], layout: Layout) -> Iterator[Doubted]:
    if not layout.is_detected:
        return
    run: list[Spoken] = []
    for word in words:
        if layout.spoken(word.start - _OFF, word.end + _OFF) > 0:
            yield from _joined(run, "no speech was detected here")
            run = []
        else:
            run.append(word)
    yield from _joined(run, "no speech was detected here")


def _joined(run: Sequence[Spoken], reason: str) -> Iterator[Doubted]:
    if run:
        yield Doubted(run[0].start, run[-1].end, reason)


def _loops(words: Sequence[Spoken]) -> Iterator[Doubted]:
    plain = [_plain(word) for word in words]
    at = 0
    while at < len(plain):
        length, times = max(
            ((length, _times(plain, at, length)) for length in range(1, _LONGEST_PHRASE + 1)),
            key=lambda found: found[1] >= _REPEATS and found[0] * found[1],
        )
        if times < _REPEATS:
            at += 1
            continue
        end = at + length * times
        yield Doubted(words[at].start, words[end - 1].end, f"the same words {times} times in a row")
        at = end


def _times(plain: Sequence[str], at: int, length: int) -> int:
    """How often the phrase of `length` words that starts at `at` is repeated in a row."""
    phrase, times = plain[at : at + length], 1
    while len(phrase) == length and plain[at + times * length : at + (times + 1) * length] == phrase:
        times += 1
    return times


def _hasty(words: Sequence[Spoken]) -> Iterator[Doubted]:
    hasty: list[Stretch] = []
    for n in range(len(words) - _RUN + 1):
        run = words[n : n + _RUN]
        seconds = max(run[-1].end - run[0].start, 0.01)
        if sum(width(word.text) for word in run) > _HASTE * seconds:
            if hasty and run[0].start <= hasty[-1].end:
                hasty[-1] = Stretch(hasty[-1].start, max(hasty[-1].end, run[-1].end))
            else:
                hasty.append(Stretch(run[0].start, run[-1].end))
    for start, end in hasty:
        yield Doubted(start, end, "more words than a person can say in this time")
