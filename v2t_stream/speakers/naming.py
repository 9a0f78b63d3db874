"""Gives people their names by their voices: those named before in a job, and those whom the library knows."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from schemas.transcript import Speaker
from schemas.voices import KnownVoice
from v2t_stream.speakers.clusters import THRESHOLD
from v2t_stream.speakers.embedding import MODEL, as_units

_ALIKE: Final = 1 - THRESHOLD  # cosine from which two voices of one recording are one person's
# The same for two recordings, and for all the people there are instead of a few: in meetings, the voices of a person in
# two halves have 0.74 and more, those of two people up to 0.65.
_KNOWN: Final = 0.7
_CLEARER: Final = 0.05  # by which a voice must be more like a person's than like anybody else's in the library


def named(speakers: Sequence[Speaker], known: Sequence[Speaker]) -> tuple[Speaker, ...]:
    """The speakers with the names of those among `known` whose voices they have; the closest are matched first."""
    found = list(speakers)
    alike = _likeness([each.voice for each in speakers], [each.voice for each in known])
    for _ in range(min(alike.shape)):
        mine, theirs = divmod(int(alike.argmax()), alike.shape[1])
        if alike[mine, theirs] < _ALIKE:
            break
        found[mine] = replace(found[mine], name=known[theirs].name)
        alike[mine], alike[:, theirs] = -np.inf, -np.inf
    return tuple(found)


def recognized(speakers: Sequence[Speaker], library: Sequence[KnownVoice]) -> tuple[Speaker, ...]:
    """The speakers with names, each if it sounds like one person of the library and clearly less like all others.

    Two speakers never get one name: the nearer one has it.
    """
    names, alike = _like_people([each.voice for each in speakers], library)
    found = list(speakers)
    for place, row in enumerate(alike if names else ()):
        best = int(row.argmax())
        others = np.delete(row, best).max(initial=-1.0)
        if row[best] >= _KNOWN and row[best] - others >= _CLEARER and alike[:, best].argmax() == place:
            found[place] = replace(found[place], name=names[best])
    return tuple(found)


def resembling(voice: bytes, library: Sequence[KnownVoice]) -> dict[str, bool]:
    """Whether the voice sounds like each of the people in the library."""
    names, alike = _like_people([voice], library)
    return {name: bool(alike[0, place] >= _KNOWN) for place, name in enumerate(names)}


def _like_people(voices: Sequence[bytes], library: Sequence[KnownVoice]) -> tuple[list[str], NDArray[np.float32]]:
    """The people in the library, and how much the voices are like theirs, of shape (voices, people).

    Of several voices of a person the nearest counts: people sound different on a telephone.
    """
    usable = [each for each in library if each.model == MODEL]
    names = sorted({each.name for each in usable})
    alike = _likeness(voices, [each.voice for each in usable])
    nearest = np.full((len(voices), len(names)), -1.0, np.float32)
    for column, each in enumerate(usable):
        place = names.index(each.name)
        nearest[:, place] = np.maximum(nearest[:, place], alike[:, column])
    return names, nearest


def _likeness(mine: Sequence[bytes], theirs: Sequence[bytes]) -> NDArray[np.float32]:
    """The cosine between each two voices, of shape (mine, theirs)."""
    vectors = as_units([*mine, *theirs])
    alike: NDArray[np.float32] = vectors[: len(mine)] @ vectors[len(mine) :].T
    return alike
