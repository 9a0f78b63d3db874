"""From speech probabilities to stretches of speech: pure logic, one probability at a time.

It finds the same stretches as faster_whisper.vad.get_speech_timestamps for a whole file with the parameters of its
BatchedInferencePipeline (threshold 0.5, min_silence_duration_ms 160, speech_pad_ms 400), but as they become known, and
at any length: the packer cuts the long ones.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.chunks import SAMPLE_RATE

WINDOW = 512  # samples per probability; Silero VAD's at 16 kHz
THRESHOLD = 0.5  # speech starts at this probability by default,
HYSTERESIS = 0.15  # and ends below the start probability minus this (snakers4/silero-vad, neg_threshold),
LOWEST = 0.01  # but never below this
MIN_SILENCE = SAMPLE_RATE * 160 // 1000  # if the silence lasts this long
PAD = SAMPLE_RATE * 400 // 1000  # kept on either side, at most half of the silence


class Stretch(NamedTuple):
    """Speech with its padding, in samples from the start of the source; ends are exclusive."""

    start: int
    end: int
    onset: int  # of the speech itself: start of the first window at the threshold,
    offset: int  # and end of the last window that counts as speech


class SpeechFinder:
    """Feed it the probabilities of consecutive windows. Stretches come sorted and never overlap; they may touch."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._release_at = max(threshold - HYSTERESIS, LOWEST)
        self._at = 0  # where the next window starts
        self._start: int | None = None  # of the running stretch, padded
        self._onset = 0  # of the same, without the padding
        self._quiet: int | None = None  # start of the running stretch's silence
        self._held: Stretch | None = None  # the last stretch; its end is not padded yet

    def feed(self, probabilities: Iterable[float]) -> Iterator[Stretch]:
        """Yield the stretches that these windows complete."""
        for probability in probabilities:
            if probability >= self._threshold:
                self._quiet = None
                if self._start is None:
                    yield from self._begin()
            elif self._start is not None:
                if probability < self._release_at:
                    self._hush(self._start)
            elif self._held is not None and self._at - self._held.end >= 2 * PAD:
                yield self._release(PAD)
            self._at += WINDOW

    def finish(self, total: int) -> Iterator[Stretch]:
        """Yield the last stretches, in a source of `total` samples."""
        if self._start is not None and self._start < total:
            offset = min(self._quiet or self._at, total)
            yield Stretch(self._start, total, min(self._onset, offset), offset)
        elif self._held is not None:
            yield self._release(min(PAD, total - self._held.end))

    @property
    def running(self) -> Stretch | None:
        """The certain part of the incomplete stretch."""
        if self._start is None:
            return None
        end = self._quiet or self._at
        return Stretch(self._start, end, self._onset, end)

    @property
    def settled(self) -> int:
        """No stretch to come starts before this sample."""
        if self._start is not None:
            return self._start
        return self._held.start if self._held is not None else max(0, self._at - PAD)

    def _begin(self) -> Iterator[Stretch]:
        pad = PAD
        if self._held is not None:
            pad = min(PAD, (self._at - self._held.end) // 2)
            yield self._release(pad)
        self._start, self._onset = max(0, self._at - pad), self._at

    def _hush(self, start: int) -> None:
        if self._quiet is None:
            self._quiet = self._at
        elif self._at - self._quiet >= MIN_SILENCE:
            self._held = Stretch(start, self._quiet, self._onset, self._quiet)
            self._start = self._quiet = None

    def _release(self, pad: int) -> Stretch:
        assert self._held is not None  # noqa: S101  # for the type checker: every caller has checked
        stretch = self._held._replace(end=self._held.end + pad)
        self._held = None
        return stretch
