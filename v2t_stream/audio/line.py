"""Sound as one line of samples, of which the last moment can still be taken back."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.level import Wave

_HELD: Final = SAMPLE_RATE * 2 // 5  # 0.4 s: the overlaps that joined files have, and the last frame before one
_SILENCE: Final = 4 * SAMPLE_RATE  # samples at a time


class Line:
    """Feed it blocks by `add`; they come out in order, each sample once."""

    def __init__(self) -> None:
        self._held: Wave = np.zeros(0, np.float32)
        self._given = 0
        self._skip = 0  # samples to come that others have taken the place of

    @property
    def end(self) -> int:
        """How many samples there are by now."""
        return self._given + len(self._held) - self._skip

    def add(self, wave: Wave) -> Iterator[Wave]:
        skipped = min(self._skip, len(wave))
        self._skip -= skipped
        line = np.concatenate((self._held, wave[skipped:]))
        ready = max(0, len(line) - _HELD)
        self._held = line[ready:]
        yield from self._give(line[:ready])

    def move_to(self, end: int) -> Iterator[Wave]:
        """Have what comes start at sample `end`: after silence, or in place of what is there."""
        surplus = self.end - end
        if surplus > 0:
            kept = max(0, len(self._held) - surplus)
            self._skip += surplus - (len(self._held) - kept)
            self._held = self._held[:kept]
        elif surplus < 0:
            yield from self.finish()
            for start in range(self._given, end, _SILENCE):
                yield from self._give(np.zeros(min(_SILENCE, end - start), np.float32))

    def finish(self) -> Iterator[Wave]:
        """Give out what is held."""
        held, self._held = self._held, np.zeros(0, np.float32)
        yield from self._give(held)

    def _give(self, wave: Wave) -> Iterator[Wave]:
        if wave.size:
            self._given += len(wave)
            yield wave
