"""Computed sounds without speech."""

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE

Waves = NDArray[np.float64]  # (samples,) at 16 kHz within ±1

_BEAT = 0.5  # seconds: 120 beats a minute
_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # A minor, F, C, G as MIDI notes, a bar each
_SCALE = (69, 72, 74, 76, 79, 81)  # A minor pentatonic


def silence(seconds: float) -> Waves:
    return np.zeros(round(seconds * SAMPLE_RATE))


def white_noise(seconds: float) -> Waves:
    return 0.1 * np.random.default_rng(1).standard_normal(round(seconds * SAMPLE_RATE)).clip(-4, 4)


def pink_noise(seconds: float) -> Waves:
    """Noise with equal power in each octave, like wind or a fan."""
    spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(round(seconds * SAMPLE_RATE)))
    spectrum /= np.sqrt(np.maximum(1, np.arange(spectrum.size)))
    noise = np.fft.irfft(spectrum, round(seconds * SAMPLE_RATE))
    return np.asarray(0.4 * noise / np.abs(noise).max())


def hum(seconds: float) -> Waves:
    """Mains hum: 50 Hz and its harmonics."""
    return 0.2 * _tone(seconds, 50, (1, 0.5, 0.3, 0.2, 0.15, 0.1, 0.05))


def metronome(seconds: float) -> Waves:
    clicks = silence(seconds)
    click = 0.8 * _tone(0.03, 1_000, (1, 0.4)) * _decay(0.03, 0.006)
    for at in np.arange(0, seconds - _BEAT, _BEAT):
        _add(clicks, at, click)
    return clicks


def music(seconds: float) -> Waves:
    """Chords, a melody and drums."""
    rng = np.random.default_rng(3)
    song = silence(seconds)
    for bar, at in enumerate(np.arange(0, seconds, 4 * _BEAT)):
        for note in _CHORDS[bar % len(_CHORDS)]:
            _add(song, at, 0.06 * _note(note, 4 * _BEAT, slow=1.5))
        for eighth in range(8):
            if rng.random() < 0.7:
                _add(song, at + eighth * _BEAT / 2, 0.14 * _note(int(rng.choice(_SCALE)), _BEAT, slow=0.3))
            hiss = rng.standard_normal(round(0.05 * SAMPLE_RATE)) * _decay(0.05, 0.012)
            _add(song, at + eighth * _BEAT / 2, 0.04 * hiss)
        for beat in range(4):
            if beat % 2:
                snare = rng.standard_normal(round(0.2 * SAMPLE_RATE)) * _decay(0.2, 0.05)
                _add(song, at + beat * _BEAT, 0.12 * snare)
            else:
                _add(song, at + beat * _BEAT, 0.4 * _tone(0.3, 60, (1, 0.3)) * _decay(0.3, 0.08))
    return song.clip(-1, 1)


NOTHING_SAID = {
    "silence": silence,
    "white noise": white_noise,
    "pink noise": pink_noise,
    "a hum": hum,
    "a metronome": metronome,
    "music": music,
}


def samples(waves: Waves) -> NDArray[np.int16]:
    """As 16 bit samples."""
    return np.round(waves * 32_767).astype(np.int16)


def _note(number: int, seconds: float, *, slow: float) -> Waves:
    pitch = 440 * 2 ** ((number - 69) / 12)
    strengths = tuple(1 / n for n in range(1, 9) if n * pitch < SAMPLE_RATE / 2)
    return _tone(seconds, pitch, strengths) * _decay(seconds, slow)


def _tone(seconds: float, pitch: float, strengths: tuple[float, ...]) -> Waves:
    """A tone in Hz with harmonics of these strengths; the first is the tone itself."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(
        (strength * np.sin(2 * np.pi * n * pitch * times) for n, strength in enumerate(strengths, 1)), silence(seconds)
    )


def _decay(seconds: float, slow: float) -> Waves:
    """An envelope that rises within 5 ms and falls to a third within `slow` seconds."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.minimum(1, times / 0.005) * np.exp(-times / slow)


def _add(sound: Waves, at: float, part: Waves) -> None:
    """Mix in a part from `at` seconds on, as far as it fits."""
    first = round(at * SAMPLE_RATE)
    room = sound[first : first + part.size]
    room += part[: room.size]
