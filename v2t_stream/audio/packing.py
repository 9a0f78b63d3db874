"""Packs stretches of speech into chunks: in order, as full as possible, cutting only a stretch that is too long."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import CHUNK_SECONDS, SAMPLE_RATE, Span
from v2t_stream.audio.speech import Stretch

LIMIT = CHUNK_SECONDS * SAMPLE_RATE  # samples in a chunk
SEARCH = 6 * SAMPLE_RATE  # the last part before the limit, to search for the quietest point: a few phrases
HOP = SAMPLE_RATE // 100  # 10 ms
PAUSE = 16  # hops averaged together: longer than the closure of a "t" (under 0.1 s), short for a pause


class Chunk(NamedTuple):
    """Speech of at most 30 s: `samples` are the spans' samples, one after the other."""

    spans: tuple[Span, ...]  # sorted, never touching
    samples: NDArray[np.int16]  # mono, 16 kHz, shape (samples,)
    # Speech without its padding, inside the spans, sorted, never touching. None: no voice detection.
    speech: tuple[Span, ...] | None


class Packer:
    """Feed it stretches in order with `add`, then `flush`.

    Whisper needs the same time for a window however full it is, so this holds back a stretch until it knows whether
    the next one fits too. That includes a job's first chunk: sending it early with 8 s brought the first words only
    0.1 s sooner, because decoding is hundreds of times faster than speech, and cost accuracy.
    """

    def __init__(self, *, limit: int = LIMIT, search: int = SEARCH) -> None:
        if not 0 < search <= limit:
            raise ValueError("the search for a quiet point must stay within one chunk")
        self._limit, self._search = limit, search
        self._spans: list[Span] = []
        self._pieces: list[NDArray[np.int16]] = []
        self._speech: list[Span] = []
        self._total = 0
        self.taken = 0  # every sample before this is in a chunk or was not speech

    def add(self, stretch: Stretch, samples: NDArray[np.int16], *, complete: bool = True) -> Iterator[Chunk]:
        """Take the stretch with these samples; a stretch begun earlier starts at `taken`.

        From an incomplete stretch, take only what must be cut off in any case.
        """
        start = stretch.start
        while len(samples) > self._limit:
            room = self._limit - self._total
            if room < self._search:
                yield from self.flush()
                room = self._limit
            # At least one: a cut at 0 would loop for ever.
            low = max(1, room - self._search)
            cut = low + quietest(samples[low:room])
            self._take(start, samples[:cut], stretch)
            yield from self.flush()
            start, samples = start + cut, samples[cut:]
        if complete and len(samples):
            if self._total + len(samples) > self._limit:
                yield from self.flush()
            self._take(start, samples, stretch)

    def flush(self) -> Iterator[Chunk]:
        """Close the current chunk."""
        if self._spans:
            yield Chunk(tuple(self._spans), np.concatenate(self._pieces), tuple(self._speech))
            self._spans, self._pieces, self._speech, self._total = [], [], [], 0

    def _take(self, start: int, samples: NDArray[np.int16], stretch: Stretch) -> None:
        last = self._spans[-1] if self._spans else None
        if last is not None and last.start + last.length == start:
            self._spans[-1] = Span(last.start, last.length + len(samples))
        else:
            self._spans.append(Span(start, len(samples)))
        self._pieces.append(samples)
        self._total += len(samples)
        self.taken = start + len(samples)
        onset, offset = max(stretch.onset, start), min(stretch.offset, self.taken)
        if onset < offset:
            self._speech.append(Span(onset, offset - onset))


def quietest(samples: NDArray[np.int16]) -> int:
    """Find the index of the middle of the quietest 160 ms, the last of equals; the end if there is less."""
    hops = len(samples) // HOP
    if hops < PAUSE:
        return len(samples)
    energy = np.square(samples[: hops * HOP].astype(np.float32)).reshape(hops, HOP).sum(axis=1)
    sums = np.convolve(energy, np.ones(PAUSE, np.float32), "valid")
    last = len(sums) - 1 - int(np.argmin(sums[::-1]))
    return (last + PAUSE // 2) * HOP
