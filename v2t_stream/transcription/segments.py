"""Makes segments from words. A segment ends with a sentence, at a pause, where two spans meet, or when it is too long.

An engine's own segments depend on how it decodes. These are the same for all engines.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from schemas.transcript import Segment, Word
from v2t_stream.transcription.words import Spoken, width

_WIDEST: Final = 84  # characters: two lines of a subtitle of 42 (Netflix's and the BBC's guides)
_LONGEST: Final = 7.0  # seconds that a subtitle may stay (Netflix's guide)
_PAUSE: Final = 0.8  # seconds; two spans are at least this far apart
_SENTENCE: Final = re.compile(r"[.!?…。！？｡।؟۔։။።]['\"’”»)\]」』]*$")  # noqa: RUF001  marks of many scripts
CLAUSE: Final = re.compile(r"[,;:—–،、，；：]['\"’”»)\]」』]*$")  # noqa: RUF001  as above
# A full stop also ends these, without ending a sentence: initials, titles, the usual Latin.
_ABBREVIATION: Final = re.compile(r"(?:^|\s)(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|U\.S)\.$")


def segments(words: Sequence[Spoken], *, word_times: bool) -> tuple[Segment, ...]:
    """Group the words of a chunk, in source times, into segments; `word_times`: keep the words that have times."""
    return tuple(
        _segment(part, word_times=word_times) for stretch in _uninterrupted(words) for part in _fitting(stretch)
    )


def _uninterrupted(words: Sequence[Spoken]) -> Iterator[list[Spoken]]:
    """The words between two sentence ends, pauses or seams."""
    stretch = list(words[:1])
    for before, word in pairwise(words):
        if word.span != before.span or word.start - before.end >= _PAUSE or ends_sentence(before.text, word.text):
            yield stretch
            stretch = []
        stretch.append(word)
    if stretch:
        yield stretch


def ends_sentence(word: str, after: str) -> bool:
    """Whether a sentence ends with `word`, before `after`; the full stop of an abbreviation ends none."""
    word = word.rstrip()
    if not _SENTENCE.search(word):
        return False
    return not word.endswith(".") or not (_ABBREVIATION.search(word) or after.strip()[:1].islower())


def _fitting(words: list[Spoken]) -> Iterator[list[Spoken]]:
    """Parts of a sentence that are short enough and about equally long, split at clauses if there are any."""
    while not _fits(words) and len(words) > 1:
        cut = _best_cut(words)
        yield words[:cut]
        words = words[cut:]
    yield words


def _fits(words: Sequence[Spoken]) -> bool:
    return words[-1].end - words[0].start <= _LONGEST and width(_text(words)) <= _WIDEST


def _best_cut(words: Sequence[Spoken]) -> int:
    """How many words go into the first part of a sentence that is too long for one segment."""
    widest, longest = width(_text(words)), words[-1].end - words[0].start
    parts = max(-(-widest // _WIDEST), -(-longest // _LONGEST), 2)
    wanted = widest / parts
    best, least = 1, float("inf")
    for cut in range(1, len(words)):
        first = words[:cut]
        if cut > 1 and not _fits(first):
            break
        cost = abs(width(_text(first)) - wanted) / wanted
        cost -= 0.7 * bool(CLAUSE.search(words[cut - 1].text)) + min(0.3, words[cut].start - words[cut - 1].end)
        if cost <= least:
            best, least = cut, cost
    return best


def _text(words: Iterable[Spoken]) -> str:
    return "".join(word.text for word in words).strip()


def _segment(words: Sequence[Spoken], *, word_times: bool) -> Segment:
    timed = (word for word in words if word.is_timed and word.text.strip()) if word_times else ()
    return Segment(
        start=words[0].start,
        end=max(words[-1].end, words[0].start),
        text=_text(words),
        words=tuple(
            Word(start=word.start, end=word.end, text=word.text.strip(), probability=word.probability) for word in timed
        ),
    )
