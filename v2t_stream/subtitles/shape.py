"""Makes cues of timed words: the cheapest way to break them all, found by dynamic programming over word boundaries.

A greedy breaker fills one cue and leaves the next with what remains, such as a lone word. Here each cue has a cost, for
what is wrong with it and for where it ends, and the sum over all cues is the least possible (as Knuth and Plass break
paragraphs into lines, "Breaking Paragraphs into Lines", 1981).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

from v2t_stream.subtitles.breaks import SENTENCE_END, Grammar
from v2t_stream.subtitles.cue import Cue
from v2t_stream.subtitles.style import Style
from v2t_stream.subtitles.tokens import Token
from v2t_stream.subtitles.width import columns, letters

LINGER: Final = 0.5  # seconds that a cue may stay into silence
# Costs, on the scale of `breaks`:
_CUE: Final = 1.0  # one cue more
_INNER_END: Final = 0.5  # a sentence that ends within a cue
_SILENCE: Final = 3.0  # a second of silence within a cue, or of speech after its end
_WRONG: Final = 30.0  # a broken limit of the style
_UPPER_LONGER: Final = 0.4  # a line above a shorter one
_PAUSE: Final = 0.5  # seconds of silence within a cue that cost nothing


def shaped(words: Sequence[Token], style: Style, language: str | None, *, until: float = math.inf) -> list[Cue]:
    """Cues of these words within the limits of the style, as far as the words allow it.

    They end before `until`, in seconds. A cue never starts before its first word. It stays up to LINGER into silence,
    and longer only if it would otherwise be too short to be read.
    """
    shaper = _Shaper(words, style, Grammar(language), until)
    return [shaper.cue(first, end) for first, end in shaper.best()]


class _Shaper:
    def __init__(self, words: Sequence[Token], style: Style, grammar: Grammar, until: float) -> None:
        self._words = words
        self._style = style
        self._until = until
        self._grid = style.fps or 1000.0  # cues start and end on frames, or else on milliseconds
        # What a break before each word costs, and before the end.
        self._break = [0.0, *(grammar.cost(one.text, two.text) for one, two in pairwise(words)), 0.0]
        # Sums over all words before a place: a difference of two belongs to the words between.
        self._wide = _sums(word.spaced + columns(word.text) for word in words)
        self._read = _sums(float(word.spaced + letters(word.text)) for word in words)
        self._inner = _sums(_INNER_END * (cost == SENTENCE_END) for cost in self._break[:-1])
        silences = (two.start - one.end - _PAUSE for one, two in pairwise(words))
        self._silent = _sums([0.0, *(_SILENCE * max(0.0, silence) for silence in silences)])

    def best(self) -> list[tuple[int, int]]:
        """The first word and the end of each cue."""
        count = len(self._words)
        least = [0.0] + [math.inf] * count
        came = [0] * (count + 1)
        for first in range(count):
            for end in range(first + 1, count + 1):
                if end > first + 1 and not self._may_hold(first, end):
                    break
                cost = least[first] + self._cost(first, end)
                if cost < least[end]:
                    least[end], came[end] = cost, first
        cues = []
        end = count
        while end:
            cues.append((came[end], end))
            end = came[end]
        return cues[::-1]

    def cue(self, first: int, end: int) -> Cue:
        places = [first, *self._lines(first, end, self._style.max_lines)[1], end]
        lines = tuple(tuple(self._words[one:two]) for one, two in pairwise(places))
        start, until = self._times(first, end)
        return Cue(
            round(start * 1000), round(until * 1000), tuple(map(_joined, lines)), lines, self._words[first].speaker
        )

    def _may_hold(self, first: int, end: int) -> bool:
        """Whether one cue may hold these words, however bad it would be."""
        return (
            self._width(first, end) <= self._style.max_line_width * self._style.max_lines
            and self._words[end - 1].start - self._words[first].start < self._style.max_cue
            and self._words[end - 1].speaker == self._words[first].speaker
        )

    def _cost(self, first: int, end: int) -> float:
        style = self._style
        lines, _ = self._lines(first, end, style.max_lines)
        if math.isinf(lines):
            return lines
        start, until = self._times(first, end)
        stays = max(until - start, 0.001)
        read = self._read[end] - self._read[first] - self._words[first].spaced
        return (
            _CUE
            + lines
            + self._break[end]
            + (self._inner[end] - self._inner[first + 1])
            + (self._silent[end] - self._silent[first + 1])
            + _SILENCE * max(0.0, self._words[end - 1].end - until - style.gap)
            + _over(style.min_cue, stays)
            + _over(read / stays, style.max_cps)
        )

    def _times(self, first: int, end: int) -> tuple[float, float]:
        """When a cue of these words starts and ends, in seconds."""
        style, words = self._style, self._words
        start = self._after(words[first].start)
        following = words[end].start if end < len(words) else self._until
        return start, min(
            max(self._before(words[end - 1].end + LINGER), self._after(start + style.min_cue)),
            self._before(start + style.max_cue),
            following if math.isinf(following) else self._before(self._after(following) - style.gap),
        )

    def _after(self, seconds: float) -> float:
        return math.ceil(round(seconds * self._grid, 3)) / self._grid

    def _before(self, seconds: float) -> float:
        return math.floor(round(seconds * self._grid, 3)) / self._grid

    def _lines(self, first: int, end: int, most: int) -> tuple[float, tuple[int, ...]]:
        """What the best lines cost, and before which words they break; inf if `most` lines do not hold the words."""
        widest = self._style.max_line_width
        if self._width(first, end) <= widest:
            return 0.0, ()
        best: tuple[float, tuple[int, ...]] = (math.inf, ())
        if most == 1:
            return best
        # Before that place, more is left than the lines below can hold.
        earliest = bisect_left(self._wide, self._wide[end] - widest * (most - 1) - 1, first + 1, end)
        for place in range(earliest, end):
            upper, rest = self._width(first, place), self._width(place, end)
            if upper > widest:
                break
            if rest > widest * (most - 1):
                continue
            lower, places = self._lines(place, end, most - 1)
            cost = lower + self._break[place] + abs(upper - rest) / widest + _UPPER_LONGER * (upper > rest)
            best = min(best, (cost, (place, *places)))
        return best

    def _width(self, first: int, end: int) -> float:
        return self._wide[end] - self._wide[first] - self._words[first].spaced


def _sums(values: Iterable[float]) -> list[float]:
    """The sum of all values before each place."""
    return list(accumulate(values, initial=0.0))


def _over(value: float, limit: float) -> float:
    """The cost of a value above a limit: a step, and more the further it is."""
    return _WRONG * value / limit if value > limit * (1 + 1e-6) else 0.0


def _joined(words: Sequence[Token]) -> str:
    return "".join(f" {word.text}" if word.spaced and number else word.text for number, word in enumerate(words))
