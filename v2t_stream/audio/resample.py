"""Turns decoded frames of any rate, format and layout into 16 kHz mono."""

from collections.abc import Iterator

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.damage import check_form
from v2t_stream.audio.level import Wave
from v2t_stream.audio.mixdown import Mixdown, planes_of

# Frames are 20 to 100 ms; a filter graph call for each would double the cost of decoding (measured for AAC: 490 times
# real time frame by frame, 1,050 times in blocks of seconds).
BLOCK_SECONDS = 4


class MonoResampler:
    """Feed it frames with `push`, then `flush`; both yield blocks of floats, all the frames' samples and no more.

    The format of the frames may change midway (a broadcast's advertisements, a late SBR header). Each format gets its
    own resampler, because FFmpeg's handle only one and PyAV's fifo reads past its buffers on a change of layout.
    `name` is the media's name in errors; an impossible format raises Reject.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._form: tuple[str, str, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self._fifo = AudioFifo()
        self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def push(self, frame: AudioFrame) -> Iterator[Wave]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            yield from self.flush()
            channels = frame.layout.nb_channels
            check_form(self._name, frame.sample_rate, channels)
            self._form = form
            self._mixdown = Mixdown(frame.layout.name, channels, frame.sample_rate) if channels > 1 else None
        frame.pts = None  # the reader keeps the time; the fifo refuses any rounding
        self._fifo.write(frame)
        while self._fifo.samples >= BLOCK_SECONDS * frame.sample_rate:
            yield from self._drain(BLOCK_SECONDS * frame.sample_rate)

    def flush(self) -> Iterator[Wave]:
        """Yield everything, including the resampler's own delay."""
        if self._form is None:
            return
        yield from self._drain()
        yield from (_samples(frame) for frame in self._resampler.resample(None) if frame is not None)
        self._begin()  # a flushed filter graph takes no more frames

    def _drain(self, samples: int = 0) -> Iterator[Wave]:
        """Resample this many samples, or all: a frame can last hours."""
        frame = self._fifo.read(samples)
        if frame is not None:
            frame.pts = None
            yield from map(_samples, self._resampler.resample(self._mono(frame)))

    def _mono(self, frame: AudioFrame) -> AudioFrame:
        if self._mixdown is None:
            return frame
        wave = self._mixdown.mix(planes_of(frame))
        mono = av.AudioFrame.from_ndarray(wave[np.newaxis], format="flt", layout="mono")
        mono.sample_rate = frame.sample_rate
        return mono


def _samples(frame: AudioFrame) -> Wave:
    samples: Wave = frame.to_ndarray()[0]
    return samples
