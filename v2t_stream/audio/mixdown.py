"""From several channels to one: mixed as usual, unless the speech is lost in the mix."""

from functools import cache
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.level import Leveller, Wave
from v2t_stream.audio.vad import SileroVad

Planes = list[NDArray[Any]]  # a channel each, shape (samples,), as the decoder gives them
Weights = NDArray[np.float32]  # how much of each channel, shape (channels,)

_STRIDE: Final = 97  # of the samples by which channels are compared: a few thousand of a block
_AUDIBLE: Final = 1e-4  # of the loudest channel's energy, 40 dB below; a quieter channel is noise
_ALIKE: Final = 0.5  # correlation of channels from which on their mix has what each has
_FAINT: Final = 1e-9  # of full scale, which is -90 dBFS; below is rounding
_SHORT: Final = 0.5  # seconds; a shorter block tells nothing
_CLEARLY: Final = 0.8  # the mix is good enough with so much of the speech that the best has
_PATIENT: Final = 150  # blocks without speech that are looked at in full, which are ten minutes; then every 8th
_SELDOM: Final = 32  # blocks between two looks where the mix is good
_SEPARATE: Final = 8  # channels that are tried each by itself
_KINDS: Final = {"u8": "u", "s16": "i", "s32": "i", "s64": "i", "flt": "f", "dbl": "f"}  # FFmpeg's forms, as numpy's


class Mixdown:
    """Makes one channel of the blocks of one form: `layout` with `channels` channels, at `rate`.

    In most recordings the channels are alike, or all but one are silent, which a look at some thousand samples of a
    block tells. Elsewhere the voice detector hears the mix, each channel and the difference of two: a cable with
    crossed wires leaves nothing of a voice in the mix, and loud music beside it too little.
    """

    def __init__(self, layout: str, channels: int, rate: int) -> None:
        self._rate = rate
        mix = mix_weights(layout, channels)
        sides = [np.array([0.5, -0.5], np.float32)] if channels == 2 else []
        single = list(np.eye(channels, dtype=np.float32)) if channels <= _SEPARATE else []
        self._candidates: list[Weights] = [mix, *sides, *single]
        self._speech = np.zeros(len(self._candidates))  # seconds in each, older ones counting less
        self._taken = 0
        self._wait = 0  # blocks until the next look
        self._pause = 1  # how many that were the last time
        self._fruitless = 0  # looks at which nobody was heard

    def mix(self, planes: Planes) -> Wave:
        """Return the one channel, at the rate of the planes."""
        taken = self._taken
        if len(planes[0]) >= _SHORT * self._rate:
            taken = 0 if _is_plain(planes) else self._look(planes)
        return weighted(planes, self._candidates[taken])

    def _look(self, planes: Planes) -> int:
        """Hear who speaks in which candidate, and take the best."""
        if self._wait:
            self._wait -= 1
            return self._taken
        heard = np.array([speech_seconds(weighted(planes, one), self._rate) for one in self._candidates])
        if not heard.any():
            self._fruitless += 1
            self._wait = 7 if self._fruitless > _PATIENT else 0
            return self._taken
        self._speech = self._speech / 2 + heard
        best = self._speech.max()
        good = np.flatnonzero(self._speech >= 0.95 * best)
        self._taken = 0 if self._speech[0] >= _CLEARLY * best else int(good[0])
        self._pause = min(2 * self._pause, _SELDOM) if self._taken == 0 else 1
        self._wait = self._pause - 1
        return self._taken


def _is_plain(planes: Planes) -> bool:
    """Whether the mix has, by all signs, what there is to hear."""
    some = np.array([plane[::_STRIDE] for plane in planes], np.float64)
    some -= some.mean(axis=1, keepdims=True)
    products = some @ some.T
    energies = products.diagonal()
    audible = energies > max(_AUDIBLE * energies.max(), _FAINT * some.shape[1] * _full_scale(planes[0].dtype) ** 2)
    scale = np.sqrt(energies)
    alike = products >= _ALIKE * np.outer(scale, scale)
    return bool(alike[audible][:, audible].all())


def planes_of(frame: AudioFrame) -> Planes:
    """The channels of a frame, as views where that can be."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= 8:  # of so many PyAV does not know the number, and reads beyond them
        (frame,) = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate).resample(frame)
    dtype = np.dtype(f"{_KINDS[frame.format.name.removesuffix('p')]}{frame.format.bytes}")
    if frame.format.is_planar:
        return [np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in frame.planes]
    packed = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels)
    return list(packed.reshape(-1, channels).T)


def weighted(planes: Planes, weights: Weights) -> Wave:
    """Add up the channels."""
    parts = [_scaled(plane) * weight for plane, weight in zip(planes, weights, strict=True) if weight]
    wave: Wave = parts[0]
    for part in parts[1:]:
        wave += part
    return wave


def speech_seconds(wave: Wave, rate: int) -> float:
    """Hear how many seconds of speech there are, whatever the loudness."""
    frame = av.AudioFrame.from_ndarray(wave[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None)) if part]
    return SileroVad().speech_seconds(Leveller().feed(np.concatenate(parts))) if parts else 0.0


@cache
def mix_weights(layout: str, channels: int) -> Weights:
    """How FFmpeg makes mono of this layout, so that full scale stays full scale.

    FFmpeg calls a layout that the file does not name "6 channels": it refuses 9 of them and takes the last of 3 for a
    subwoofer, whose sound it drops. They are microphones as often as loudspeakers, so all count the same.
    """
    nameless = "channels" in layout and (channels > 2 or "(" in layout)
    if nameless or layout.startswith("ambisonic"):
        return np.full(channels, 1 / channels, np.float32)
    # One channel after the other at full scale, 64 samples each: what comes out is how much each counts.
    steps = np.repeat(np.eye(channels, dtype=np.float32), 64, axis=0)
    frame = av.AudioFrame.from_ndarray(steps.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = SAMPLE_RATE
    (mono,) = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE).resample(frame)
    counts = mono.to_ndarray()[0][32::64]
    weights: Weights = counts / np.abs(counts).sum()
    return weights


def _scaled(plane: NDArray[Any]) -> NDArray[np.float32]:
    """The samples as floats within ±1."""
    floats: NDArray[np.float32] = plane.astype(np.float32, copy=False)
    if plane.dtype.kind == "f":
        return floats
    scale = np.float32(_full_scale(plane.dtype))
    return floats / scale - np.float32(1) if plane.dtype == np.uint8 else floats / scale


def _full_scale(dtype: np.dtype[Any]) -> float:
    """How far samples go to either side of silence."""
    return 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
