"""Decoded frames of whatever rate, format and layout, turned into 16 kHz mono int16."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.damage import check_form

Block = NDArray[np.int16]  # mono, SAMPLE_RATE, shape (samples,)

# Frames are 20 to 100 ms; a filter graph call for each would cost as much again as the decoding (measured: 490 times
# real time frame by frame, 1,050 times in blocks of seconds, for AAC).
BLOCK_SECONDS = 4


class MonoResampler:
    """Feed it frames by `push`, then `flush`; both give blocks of int16, all the frames' samples and no more.

    The form of the frames may change on the way (a broadcast's advertisements, a late SBR header): each form has its
    own resampler, because FFmpeg's are for one form only and PyAV's fifo reads past its buffers on a change of layout.
    `name` is what the media is called in errors; a form that cannot be right raises Reject.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()

    def _begin(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._mixed = False
        self._fifo = AudioFifo()
        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def push(self, frame: AudioFrame) -> Iterator[Block]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            yield from self.flush()
            check_form(self._name, frame.sample_rate, frame.layout.nb_channels)
            self._form = form
            self._mixed = _needs_mixing(frame.layout.name, frame.layout.nb_channels)
        frame.pts = None  # the reader keeps the time; the fifo would refuse the least rounding in it
        self._fifo.write(_mix(frame) if self._mixed else frame)
        while self._fifo.samples >= BLOCK_SECONDS * frame.sample_rate:
            yield from self._drain(BLOCK_SECONDS * frame.sample_rate)

    def flush(self) -> Iterator[Block]:
        """Give out everything, the resampler's own delay too, and start anew."""
        if self._form is None:
            return
        yield from self._drain()
        yield from (_samples(frame) for frame in self._resampler.resample(None) if frame is not None)
        self._begin()  # a flushed filter graph takes no more frames

    def _drain(self, samples: int = 0) -> Iterator[Block]:
        """Resample so many, or all: a frame can be of hours."""
        frame = self._fifo.read(samples)
        if frame is not None:
            frame.pts = None
            yield from map(_samples, self._resampler.resample(frame))


def _samples(frame: AudioFrame) -> Block:
    samples: Block = frame.to_ndarray()[0]
    return samples


def _needs_mixing(layout: str, channels: int) -> bool:
    """Whether swresample does not know how to make mono of this layout, or would guess.

    FFmpeg calls a layout that the file does not name "6 channels": swresample refuses 9 of them and takes the last of
    3 for a subwoofer, whose sound it drops. They are microphones as often as loudspeakers, so all count the same.
    """
    return ("channels" in layout and channels > 2) or "(" in layout or layout.startswith("ambisonic")


def _mix(frame: AudioFrame) -> AudioFrame:
    """Average all channels into a mono float frame."""
    data: NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    data = data if frame.format.is_planar else data.reshape(-1, channels).T
    mono = data.mean(axis=0, dtype=np.float64)
    if data.dtype == np.uint8:
        mono = mono / 128 - 1
    elif data.dtype.kind == "i":
        mono = mono / -float(np.iinfo(data.dtype).min)
    mixed = av.AudioFrame.from_ndarray(mono.astype(np.float32)[np.newaxis], format="flt", layout="mono")
    mixed.sample_rate = frame.sample_rate
    return mixed
