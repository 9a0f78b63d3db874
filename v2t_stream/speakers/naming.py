"""Gives people who were named before their names again, by their voices."""

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from schemas.transcript import Speaker
from v2t_stream.speakers.clusters import THRESHOLD
from v2t_stream.speakers.embedding import as_units


def named(speakers: Sequence[Speaker], known: Sequence[Speaker]) -> tuple[Speaker, ...]:
    """The speakers with the names of those among `known` whose voices they have; the closest are matched first."""
    voices = as_units([each.voice for each in (*speakers, *known)])
    found = list(speakers)
    alike = voices[: len(found)] @ voices[len(found) :].T
    for _ in range(min(alike.shape)):
        mine, theirs = divmod(int(alike.argmax()), alike.shape[1])
        if alike[mine, theirs] < 1 - THRESHOLD:
            break
        found[mine] = replace(found[mine], name=known[theirs].name)
        alike[mine], alike[:, theirs] = -np.inf, -np.inf
    return tuple(found)
