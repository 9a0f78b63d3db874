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
    distance = _distances(groups)
    nearest = distance.min(axis=1, initial=np.inf)
    left = len(groups)
    while left > number.least:
        one = int(nearest.argmin())
        two = int(distance[one].argmin())
        if not np.isfinite(distance[one, two]) or (distance[one, two] > THRESHOLD and left <= number.most):
            break
        first, second = groups[one], groups[two]
        sizes = len(first.voices), len(second.voices)
        merged = (sizes[0] * distance[one] + sizes[1] * distance[two]) / sum(sizes)
        merged[one] = merged[two] = np.inf
        distance[one] = distance[:, one] = merged
        distance[two] = distance[:, two] = np.inf
        groups[one] = _Group(first.voices + second.voices, first.total + second.total, first.people | second.people)
        groups[two] = _Group([], second.total, set())
        # Only rows whose nearest was one of the two can have a new nearest that is further away.
        nearest = distance.min(axis=1)
        left -= 1
    return [group for group in groups if group.voices]


def _distances(groups: Sequence[_Group]) -> NDArray[np.float32]:
    """Mean cosine distances, of shape (groups, groups); infinite where two of them spoke in one window."""
    means = np.array([group.total / len(group.voices) for group in groups], np.float32)
    distance: NDArray[np.float32] = 1 - means @ means.T
    np.fill_diagonal(distance, np.inf)
    by_window: dict[int, list[tuple[int, int]]] = {}
    for n, group in enumerate(groups):
        for window, person in group.people:
            by_window.setdefault(window, []).append((n, person))
    for together in by_window.values():
        for (one, first), (two, second) in combinations(together, 2):
            if first != second:
                distance[one, two] = distance[two, one] = np.inf
    return distance


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
