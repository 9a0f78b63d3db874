"""Loses no speech silently: the engine gets speech without words again, and what stays without words is recorded."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from schemas.chunks import SAMPLE_RATE
from schemas.transcript import Doubt, Segment, Unheard
from v2t_stream.transcription.audit import Hole, doubts, filled, holes, is_crowded
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.words import Spoken, spoken

_ROUNDS: Final = 4  # an engine that loses the end of whatever it hears gets further with each

Again = Callable[[int, int], Awaitable[Iterable[Segment]]]
"""Hears the chunk again between two of its samples, with silence after them; times count from the first of them."""


class Covered(NamedTuple):
    """What was said in a chunk, and what is not certain about it; all in seconds of the source."""

    words: tuple[Spoken, ...]
    unheard: tuple[Unheard, ...]
    doubtful: tuple[Doubt, ...]


async def covered(segments: Iterable[Segment], layout: Layout, again: Again) -> Covered:
    """Audit what an engine heard in a chunk, and have it hear again what it missed."""
    words = layout.trimmed(spoken(segments, layout.speech))
    tried: list[Hole] = []
    fruitful: list[Hole] = []  # in which words were found
    for _ in range(_ROUNDS):
        missed = [hole for hole in _missed(words, layout, fruitful) if hole not in tried]
        for hole in missed:
            tried.append(hole)
            if found := await _heard_again(hole, again, layout):
                fruitful.append(hole)
                words = layout.trimmed(filled(words, hole, found))
        if not missed:
            break
    return Covered(tuple(map(layout.placed, words)), _unheard(words, layout), _doubtful(words, layout))


def _missed(words: Sequence[Spoken], layout: Layout, fruitful: Sequence[Hole]) -> list[Hole]:
    """The holes; where an engine lost words before, also those of single words."""
    missed = holes(words, layout)
    if fruitful:
        missed += [
            hole
            for hole in holes(words, layout, distrust=True)
            if hole not in missed and any(known.start <= hole.start and hole.end <= known.end for known in fruitful)
        ]
    return missed


async def _heard_again(hole: Hole, again: Again, layout: Layout) -> list[Spoken]:
    found = await again(round(hole.start * SAMPLE_RATE), round(hole.end * SAMPLE_RATE))
    speech = [mark.shifted(-hole.start) for mark in layout.speech]
    words = [word._replace(start=word.start + hole.start, end=word.end + hole.start) for word in spoken(found, speech)]
    return [] if is_crowded(words, hole, layout) else words


def _unheard(words: Sequence[Spoken], layout: Layout) -> tuple[Unheard, ...]:
    return tuple(
        Unheard(start=stretch.start, end=stretch.end)
        for hole in holes(words, layout)
        for stretch in layout.stretches(hole.start, hole.end)
    )


def _doubtful(words: Sequence[Spoken], layout: Layout) -> tuple[Doubt, ...]:
    found = []
    for start, end, reason in doubts(words, layout):
        edges = layout.placed(Spoken(start, start, "")), layout.placed(Spoken(end, end, ""))
        found.append(Doubt(start=edges[0].start, end=edges[1].end, reason=reason))
    return tuple(found)
