"""Sound as one line of samples; the last moment can still be replaced."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.level import Wave

_HELD: Final = SAMPLE_RATE * 2 // 5  # 0.4 s: the overlap of joined files, and the frame before it
_SILENCE: Final = 4 * SAMPLE_RATE  # samples at a time


class Line:
    """Feed it blocks with `add`; they come out in order, each sample once."""

    def __init__(self) -> None:
        self._held: Wave = np.zeros(0, np.float32)
        self._given = 0
        self._skip = 0  # coming samples to drop, because others replaced them

    @property
    def end(self) -> int:
        """The number of samples so far."""
        return self._given + len(self._held) - self._skip

    def add(self, wave: Wave) -> Iterator[Wave]:
        skipped = min(self._skip, len(wave))
        self._skip -= skipped
        line = np.concatenate((self._held, wave[skipped:]))
        ready = max(0, len(line) - _HELD)
        self._held = line[ready:]
        yield from self._give(line[:ready])

    def move_to(self, end: int) -> Iterator[Wave]:
        """Start the next samples at `end`: after silence, or in place of held ones."""
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
        """Yield the held samples."""
        held, self._held = self._held, np.zeros(0, np.float32)
        yield from self._give(held)

    def _give(self, wave: Wave) -> Iterator[Wave]:
        if wave.size:
            self._given += len(wave)
            yield wave
