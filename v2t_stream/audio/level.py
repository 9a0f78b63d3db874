"""Loudness: measures the file's, and raises it to a level that a voice detector hears."""

from collections import deque
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE

Wave = NDArray[np.float32]  # mono, SAMPLE_RATE, shape (samples,), full scale at ±1
Block = NDArray[np.int16]  # the same in 16 bit

_FRAME: Final = SAMPLE_RATE // 50  # 20 ms
_REMEMBERED: Final = 15  # blocks, of four seconds: a minute
# dBFS of the loudest 20 ms. Silero VAD hears all speech down to -48, half of it at -58, none at -68 (measured on a
# speech of 1961, a novel and a sonnet); 16 bits are then 10 to 5.
_QUIET: Final = -38.0
_WANTED: Final = -20.0
_FAINT: Final = -95.0  # dBFS of the same: below is the last bit of 16, or in 24 bits any microphone's noise
_CONTRAST: Final = 10.0  # dB from the quietest tenth to the loudest 20 ms: steady noise has 1 to 4, speech 25 to 60


class _Loudness(NamedTuple):
    """The levels of a block of sound, in dBFS."""

    loudest: float  # 20 ms
    contrast: float  # dB, without rumble and hum; 0 if the block is loud enough


class Leveller:
    """Feed it a file's sound in blocks of seconds; it converts them to 16 bits.

    It amplifies sound whose loudest moment of the last minute is very quiet, so that a clean recording at -80 dBFS
    keeps more than three steps. It does not amplify steady noise or digital silence.
    """

    def __init__(self) -> None:
        self._past: deque[_Loudness] = deque(maxlen=_REMEMBERED)
        self._peak = 0.0
        self._energy, self._count = 0.0, 0

    def feed(self, wave: Wave) -> Block:
        if not wave.size:
            return np.zeros(0, np.int16)
        peak = float(max(wave.max(), -wave.min()))
        self._peak = max(self._peak, peak)
        self._energy += float(np.dot(wave, wave))
        self._count += len(wave)
        if peak:
            self._past.append(_loudness(wave))
        if self._is_quiet:
            wave = wave - wave.mean()  # a recorder's DC offset may be louder than its recording
            wave = wave * np.float32(min(self._gain(), 0.9 / max(float(np.abs(wave).max()), 1e-9)))
        block: Block = np.rint(wave * np.float32(32_768)).clip(-32_768, 32_767).astype(np.int16)
        return block

    @property
    def peak(self) -> float | None:
        """The loudest sample of the input so far, in dBFS; None for digital silence."""
        return _decibels(self._peak) if self._peak else None

    @property
    def level(self) -> float | None:
        """The root mean square of the input so far, in dBFS; None for digital silence."""
        return _decibels((self._energy / self._count) ** 0.5) if self._energy else None

    @property
    def _is_quiet(self) -> bool:
        """Whether the sound is worth amplifying."""
        return _FAINT < self._loudest < _QUIET and max((past.contrast for past in self._past), default=0.0) > _CONTRAST

    @property
    def _loudest(self) -> float:
        return max((past.loudest for past in self._past), default=0.0)

    def _gain(self) -> float:
        return float(10 ** ((_WANTED - self._loudest) / 20))


def _loudness(wave: Wave) -> _Loudness:
    loudest = _decibels(float(_energies(wave).max()) ** 0.5)
    return _Loudness(loudest, _contrast(wave) if loudest < _QUIET else 0.0)


def _contrast(wave: Wave) -> float:
    bright = _energies(np.diff(wave))
    bright = bright[bright > 0]
    return float(10 * np.log10(bright.max() / np.percentile(bright, 10))) if bright.size else 0.0


def _energies(wave: Wave) -> NDArray[np.float32]:
    """The mean square of each 20 ms, without DC offset; for a shorter wave, of the whole."""
    if len(wave) < _FRAME:
        return np.array([wave.var()] if wave.size else [0.0], np.float32)
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    means = frames.mean(axis=1)
    energies: NDArray[np.float32] = np.einsum("ij,ij->i", frames, frames) / np.float32(_FRAME) - means * means
    return np.maximum(energies, 0)


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, 1e-10)))
