"""From the matched voices of overlapping windows to who speaks when."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from schemas.chunks import SAMPLE_RATE
from schemas.speakers import Window
from v2t_stream.speakers.frames import FRAME, runs

_BREATH: Final = 0.3  # seconds of silence that do not end a turn


class Turn(NamedTuple):
    start: float  # seconds in the source
    end: float
    speaker: int  # from 0


def turns(windows: Sequence[Window], speakers: Sequence[tuple[int, ...]]) -> list[Turn]:
    """Who speaks when, by time; two may speak at once.

    Where windows overlap, as many speak as in the mean of them, and those that most of them heard.
    """
    found: list[Turn] = []
    for group in _overlapping(windows):
        found += _turns([windows[n] for n in group], [speakers[n] for n in group])
    return sorted(_joined(found))


def _overlapping(windows: Sequence[Window]) -> Iterator[list[int]]:
    """The places of windows that overlap one another, in the order of the source."""
    group: list[int] = []
    end = 0
    for n in sorted(range(len(windows)), key=lambda place: windows[place].start):
        if group and windows[n].start >= end:
            yield group
            group = []
        group.append(n)
        end = max(end, windows[n].start + windows[n].length)
    if group:
        yield group


def _turns(windows: Sequence[Window], speakers: Sequence[tuple[int, ...]]) -> Iterator[Turn]:
    """The turns in windows that overlap."""
    begin = windows[0].start
    frames = -(-max(window.start + window.length - begin for window in windows) // FRAME)
    people = max((speaker for each in speakers for speaker in each), default=-1) + 1
    if not people:
        return
    votes = np.zeros((people, frames), np.int32)
    heard = np.zeros(frames, np.int32)  # windows
    active = np.zeros(frames, np.int32)  # voices in all windows
    for window, each in zip(windows, speakers, strict=True):
        heard[_frames(window.start, window.length, begin)] += 1
        for voice, speaker in zip(window.voices, each, strict=True):
            for start, length in voice.turns:
                part = _frames(start, length, begin)
                active[part] += 1
                if speaker >= 0:
                    votes[speaker, part] += 1
    count = np.floor(active / np.maximum(heard, 1) + 0.5).astype(np.int32)  # if half of them heard somebody, one spoke
    rank = np.argsort(np.argsort(-votes, axis=0, kind="stable"), axis=0, kind="stable")
    speaks = (rank < count) & (votes > 0)
    for speaker in range(people):
        for first, end in runs(speaks[speaker]):
            yield Turn((begin + first * FRAME) / SAMPLE_RATE, (begin + end * FRAME) / SAMPLE_RATE, speaker)


def _frames(start: int, length: int, begin: int) -> slice:
    return slice(round((start - begin) / FRAME), round((start + length - begin) / FRAME))


def _joined(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns of one speaker after the other, without gaps in which somebody only takes breath."""
    last: Turn | None = None
    for turn in sorted(turns, key=lambda turn: (turn.speaker, turn.start)):
        if last and last.speaker == turn.speaker and turn.start - last.end <= _BREATH:
            last = last._replace(end=max(last.end, turn.end))
            continue
        if last:
            yield last
        last = turn
    if last:
        yield last
