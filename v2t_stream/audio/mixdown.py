"""From several channels to one: a normal mix, unless the mix loses the speech."""

from functools import cache
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.level import Leveller, Wave
from v2t_stream.audio.vad import SileroVad

Planes = list[NDArray[Any]]  # one array per channel, shape (samples,), from the decoder
Weights = NDArray[np.float32]  # weight of each channel, shape (channels,)

_STRIDE: Final = 97  # channels are compared by every 97th sample: a few thousand of a block
_AUDIBLE: Final = 1e-4  # share of the loudest channel's energy, 40 dB below; a quieter channel is noise
_ALIKE: Final = 0.5  # from this correlation of channels on, their mix has the sound of each
_FAINT: Final = 1e-9  # energy, -90 dBFS; below is rounding
_SHORT: Final = 0.5  # seconds; a shorter block shows nothing
_CLEARLY: Final = 0.8  # the mix is good enough with this share of the best candidate's speech
_PATIENT: Final = 150  # blocks without speech to check one by one (ten minutes); then every 8th
_SELDOM: Final = 32  # blocks between checks of a good mix
_SEPARATE: Final = 8  # channels to try individually
_KINDS: Final = {"u8": "u", "s16": "i", "s32": "i", "s64": "i", "flt": "f", "dbl": "f"}  # FFmpeg to numpy


class Mixdown:
    """Reduces blocks of one format to one channel: `layout` with `channels` channels, at `rate`.

    In most recordings the channels are alike, or all but one are silent; some thousand samples of a block show that.
    In others the voice detector hears the mix, each channel and the difference of two: a cable with crossed wires
    leaves nothing of a voice in the mix, and loud music beside it too little.
    """

    def __init__(self, layout: str, channels: int, rate: int) -> None:
        self._rate = rate
        mix = mix_weights(layout, channels)
        sides = [np.array([0.5, -0.5], np.float32)] if channels == 2 else []
        single = list(np.eye(channels, dtype=np.float32)) if channels <= _SEPARATE else []
        self._candidates: list[Weights] = [mix, *sides, *single]
        self._speech = np.zeros(len(self._candidates))  # seconds in each, weighted to the latest
        self._taken = 0
        self._wait = 0  # blocks until the next check
        self._pause = 1  # its last value
        self._fruitless = 0  # checks without speech

    def mix(self, planes: Planes) -> Wave:
        """Return the one channel, at the rate of the planes."""
        taken = self._taken
        if len(planes[0]) >= _SHORT * self._rate:
            taken = 0 if _is_plain(planes) else self._look(planes)
        return weighted(planes, self._candidates[taken])

    def _look(self, planes: Planes) -> int:
        """Detect the speech in each candidate, and take the best."""
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
    """Whether the mix appears to have all the sound."""
    some = np.array([plane[::_STRIDE] for plane in planes], np.float64)
    some -= some.mean(axis=1, keepdims=True)
    products = some @ some.T
    energies = products.diagonal()
    audible = energies > max(_AUDIBLE * energies.max(), _FAINT * some.shape[1] * _full_scale(planes[0].dtype) ** 2)
    scale = np.sqrt(energies)
    alike = products >= _ALIKE * np.outer(scale, scale)
    return bool(alike[audible][:, audible].all())


def planes_of(frame: AudioFrame) -> Planes:
    """The channels of a frame, as views if possible."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= 8:  # PyAV miscounts these, and reads out of bounds
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
    """Count the seconds of speech, at any loudness."""
    frame = av.AudioFrame.from_ndarray(wave[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None)) if part]
    return SileroVad().speech_seconds(Leveller().feed(np.concatenate(parts))) if parts else 0.0


@cache
def mix_weights(layout: str, channels: int) -> Weights:
    """FFmpeg's mono weights for this layout, so that full scale stays full scale.

    FFmpeg calls an unnamed layout "6 channels": it refuses 9 of them, and treats the last of 3 as a subwoofer and drops
    its sound. They are microphones as often as loudspeakers, so all get the same weight.
    """
    nameless = "channels" in layout and (channels > 2 or "(" in layout)
    if nameless or layout.startswith("ambisonic"):
        return np.full(channels, 1 / channels, np.float32)
    # One channel after the other at full scale, 64 samples each: the output is each one's weight.
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
    """The largest distance of samples from silence."""
    return 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
