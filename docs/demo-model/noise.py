"""Kinds of noise to train and to measure with: white, pink, brown, and muffled."""

import numpy as np

SAMPLE_RATE = 16000
SECONDS = 60


def bank(rng: np.random.Generator) -> list[np.ndarray]:
    """Return a minute of each kind, of variance 1, as float32 of shape (samples,)."""
    count = SECONDS * SAMPLE_RATE
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    falling = np.maximum(frequency, 20)
    shapes = [np.ones_like(frequency), falling**-0.5, falling**-1.0, (frequency < 3500).astype(float)]
    waves = [np.fft.irfft(spectrum * shape) for shape in shapes]
    return [(wave / wave.std()).astype(np.float32) for wave in waves]


def draw(kinds: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` samples from anywhere in one kind."""
    wave = kinds[rng.integers(len(kinds))]
    return np.take(wave, np.arange(count) + rng.integers(len(wave)), mode="wrap")
