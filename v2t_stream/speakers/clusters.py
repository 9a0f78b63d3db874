"""Matches the voices of all windows: which of them are one person's.

Average linkage by cosine distance, under the constraint that two voices of one window are never one person's, as most
published systems have it ("pyannote.audio 2.1 speaker diarization pipeline", Bredin, 2023). The mean distance between
two groups of unit vectors is 1 less the product of the groups' means, so a group is known by its sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.speakers import Voice, Window
from v2t_stream.speakers.embedding import as_units, units

THRESHOLD: Final = 0.45  # mean cosine distance up to which voices are one person's; below 0.4 on meetings
_LONG: Final = 1.0  # seconds of speech from which a voice may found a group
_STRETCH: Final = 1000  # voices that are matched among themselves first: the time grows with the square
# The segmentation may take one person for two, in this share of windows, if their voices are closer than two people's.
_MISTAKEN: Final = 0.3
_ALIKE: Final = 0.25  # mean cosine distance
_FEWER: Final = 0.9  # of the groups are left at most where another round by stretches is worth it
_RARE: Final = 0.02  # share of the longest group's time, below which a group is no person of its own
NOBODY: Final = -1  # the speaker of a voice that cannot be matched

Vectors = NDArray[np.float32]


class Number(NamedTuple):
    """How many people speak."""

    least: int = 1
    most: int = 1000


ANY: Final = Number()


@dataclass
class _Group:
    """Voices of one person, as far as known."""

    voices: list[int]
    total: NDArray[np.float32]  # the sum of their vectors
    people: set[tuple[int, int]]  # whose voices they are: window and person


def speakers(windows: Sequence[Window], number: Number = ANY) -> list[tuple[int, ...]]:
    """The speaker of each voice of each window, from 0 in the order in which they first speak.

    It is -1 for a voice without an embedding.
    """
    voices = [(place, voice) for place, window in enumerate(windows) for voice in window.voices]
    vectors = as_units([voice.embedding for _, voice in voices])
    groups = _linked(_by_stretch(_founders(voices, vectors)), number)
    if not groups:
        return [tuple(NOBODY for _ in window.voices) for window in windows]
    seconds = [sum(voices[n][1].seconds for n in group.voices) for group in groups]
    people = sum(spoken >= _RARE * max(seconds) for spoken in seconds)
    people = max(number.least, min(people, number.most))
    groups = [groups[n] for n in sorted(range(len(groups)), key=lambda n: -seconds[n])[:people]]
    return _numbered(windows, _assigned(voices, vectors, groups))


def centres(windows: Sequence[Window], found: Sequence[tuple[int, ...]]) -> Vectors:
    """What each speaker that `speakers` found sounds like: unit vectors, of shape (speakers, dimensions)."""
    vectors = as_units([voice.embedding for window in windows for voice in window.voices])
    numbers = np.array([number for each in found for number in each], np.int64)
    count = int(numbers.max(initial=NOBODY)) + 1
    totals = np.zeros((count, vectors.shape[1]), np.float32)
    np.add.at(totals, numbers[numbers >= 0], vectors[numbers >= 0])
    return units(totals)


def _founders(voices: Sequence[tuple[int, Voice]], vectors: Vectors) -> list[_Group]:
    """A group for each voice that is long enough, or for each at all if none is. `voices`: with their windows."""
    heard = [n for n, (_, voice) in enumerate(voices) if voice.embedding]
    long = [n for n in heard if voices[n][1].seconds >= _LONG]
    return [_Group([n], vectors[n], {(voices[n][0], voices[n][1].person)}) for n in long or heard]


def _by_stretch(groups: list[_Group]) -> list[_Group]:
    """So few groups that they can be matched at once."""
    while len(groups) > _STRETCH:
        parts = [groups[first : first + _STRETCH] for first in range(0, len(groups), _STRETCH)]
        merged = [group for part in parts for group in _linked(part, ANY)]
        if len(merged) > len(groups) * _FEWER:
            break
        groups = merged
    return groups


def _linked(groups: list[_Group], number: Number) -> list[_Group]:
    """The groups after the closest two became one, again and again, until the next two are too far apart."""
    if not groups:
        return []
    groups = list(groups)
    between = _Between(groups)
    left = len(groups)
    while left > number.least:
        one, two, distance = between.closest()
        if not np.isfinite(distance) or (distance > THRESHOLD and left <= number.most):
            break
        between.merge(one, two)
        first, second = groups[one], groups[two]
        groups[one] = _Group(first.voices + second.voices, first.total + second.total, first.people | second.people)
        groups[two] = _Group([], second.total, set())
        left -= 1
    return [group for group in groups if group.voices]


class _Between:
    """How far each two groups are apart, and in how many windows they are two people."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self._sizes = np.array([len(group.voices) for group in groups], np.float32)
        self._windows = np.array([len({window for window, _ in group.people}) for group in groups], np.float32)
        means = np.array([group.total for group in groups], np.float32) / self._sizes[:, None]
        self._distance = 1 - means @ means.T
        self._conflicts = _conflicts(groups)
        self._open = self._allowed(self._distance, self._conflicts, self._windows[:, None])
        np.fill_diagonal(self._open, np.inf)
        self._alive = np.ones(len(groups), np.bool_)
        self._places = self._open.argmin(axis=1)  # of the nearest
        self._nearest = self._open.min(axis=1)

    def _allowed(
        self, distance: NDArray[np.float32], conflicts: NDArray[np.float32], windows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The distances, infinite between groups that are two people in a window, unless that must be a mistake."""
        mistaken = (conflicts <= _MISTAKEN * np.minimum(windows, self._windows)) & (distance <= _ALIKE)
        allowed: NDArray[np.float32] = np.where((conflicts == 0) | mistaken, distance, np.float32(np.inf))
        return allowed

    def closest(self) -> tuple[int, int, float]:
        one = int(self._nearest.argmin())
        return one, int(self._places[one]), float(self._nearest[one])

    def merge(self, one: int, two: int) -> None:
        """Let `one` be both."""
        share = self._sizes[two] / (self._sizes[one] + self._sizes[two])
        merged = (1 - share) * self._distance[one] + share * self._distance[two]
        conflicts = self._conflicts[one] + self._conflicts[two]
        self._distance[one] = self._distance[:, one] = merged
        self._conflicts[one] = self._conflicts[:, one] = conflicts
        self._sizes[one] += self._sizes[two]
        self._windows[one] += self._windows[two]
        self._alive[two] = False
        row = self._allowed(merged, conflicts, self._windows[one])
        row[~self._alive] = row[one] = np.inf
        self._open[one] = self._open[:, one] = row
        self._open[two] = self._open[:, two] = np.inf
        stale = np.flatnonzero(np.isin(self._places, (one, two)))
        closer = row < self._nearest
        self._nearest[closer], self._places[closer] = row[closer], one
        for place in (*stale.tolist(), one, two):
            self._places[place] = self._open[place].argmin()
            self._nearest[place] = self._open[place, self._places[place]]


def _conflicts(groups: Sequence[_Group]) -> NDArray[np.float32]:
    """In how many windows each two groups are two people."""
    counts = np.zeros((len(groups), len(groups)), np.float32)
    by_window: dict[int, list[tuple[int, int]]] = {}
    for n, group in enumerate(groups):
        for window, person in group.people:
            by_window.setdefault(window, []).append((n, person))
    for together in by_window.values():
        pairs = {
            (one, two) for (one, first), (two, second) in combinations(together, 2) if first != second and one != two
        }
        for one, two in pairs:
            counts[one, two] += 1
            counts[two, one] += 1
    return counts


def _assigned(voices: Sequence[tuple[int, Voice]], vectors: Vectors, groups: Sequence[_Group]) -> list[int]:
    """The group of each voice: its own, or the nearest in which nobody else of the window is, or else the nearest."""
    found = [NOBODY] * len(voices)
    taken: dict[int, dict[int, set[int]]] = {}  # by window and group, the people who have voices in it
    for n, group in enumerate(groups):
        for voice in group.voices:
            found[voice] = n
            taken.setdefault(voices[voice][0], {}).setdefault(n, set()).add(voices[voice][1].person)
    totals = np.array([group.total for group in groups], np.float32)
    directions = units(totals)
    rest = [n for n, (_, voice) in enumerate(voices) if found[n] == NOBODY and voice.embedding]
    for n in sorted(rest, key=lambda n: -voices[n][1].seconds):
        window, mine = voices[n]
        there = taken.setdefault(window, {})
        nearest = np.argsort(-(directions @ vectors[n]), kind="stable").tolist()
        free = (group for group in nearest if there.get(group, {mine.person}) == {mine.person})
        found[n] = next(free, nearest[0])
        there.setdefault(found[n], set()).add(mine.person)
    return found


def _numbered(windows: Sequence[Window], found: Sequence[int]) -> list[tuple[int, ...]]:
    """The same groups, numbered by when they first speak."""
    first: dict[int, int] = {}
    voices = [voice for window in windows for voice in window.voices]
    for voice, group in zip(voices, found, strict=True):
        if group != NOBODY:
            first[group] = min(first.get(group, voice.turns[0][0]), voice.turns[0][0])
    order = {group: n for n, group in enumerate(sorted(first, key=lambda group: first[group]))}
    numbers = iter([order.get(group, NOBODY) for group in found])
    return [tuple(next(numbers) for _ in window.voices) for window in windows]
