"""Counts what a process has done since it started, for its metrics."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

# The outcome of a message. Skipped: it had a result, or nobody needs one any more. Returned: given back untried,
# because this process ends or the broker was away. Helped: done again for a slower node that had it.
Outcome = Literal["done", "skipped", "retried", "dead", "returned", "helped"]

# Engine seconds per second of media: from 400 times real time to a third of it.
FACTORS: Final = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0)


@dataclass
class Tally:
    outcomes: Counter[Outcome] = field(default_factory=Counter)  # of messages
    audio: float = 0.0  # seconds of media transcribed by an engine
    busy: float = 0.0  # engine seconds for that
    factors: list[int] = field(default_factory=lambda: [0] * (len(FACTORS) + 1))  # chunks up to each of FACTORS, above
    factor_sum: float = 0.0  # of all chunks
    downloaded: int = 0  # bytes

    def heard(self, audio: float, seconds: float) -> None:
        """Record a chunk: its seconds of media, and its share of the engine's seconds."""
        self.audio += audio
        self.busy += seconds
        if audio:
            self.factors[bisect_left(FACTORS, seconds / audio)] += 1
            self.factor_sum += seconds / audio
