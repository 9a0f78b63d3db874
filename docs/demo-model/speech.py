"""Speech of known words at known times: libespeak-ng through ctypes, which reports when each word begins.

Needs the shared library of espeak-ng 1.51 or later (Debian: `apt install libespeak-ng1 espeak-ng-data`).
"""

import ctypes
import ctypes.util
import functools
from typing import Any, NamedTuple

import grammar
import numpy as np
import soxr

SAMPLE_RATE = 16000
MARGIN = SAMPLE_RATE // 100  # kept before the first and after the last audible sample
AUDIBLE = 0.004  # root mean square of 5 ms, full scale being 1

# From espeak-ng/speak_lib.h.
SYNCHRONOUS, CHARACTERS, UTF8 = 2, 1, 1
RATE, PITCH, RANGE = 1, 3, 4
LIST_TERMINATED, WORD = 0, 1


class Voice(NamedTuple):
    """One of espeak-ng's voices and the settings to draw from, each as (lowest, highest)."""

    name: str
    words_per_minute: tuple[int, int] = (130, 185)
    pitch: tuple[int, int] = (35, 60)
    intonation: tuple[int, int] = (30, 70)


VOICES = (Voice("en-us"), Voice("en-us+f3", pitch=(45, 70)))


class Utterance(NamedTuple):
    """A spoken sentence."""

    samples: np.ndarray  # (samples,) int16 at 16 kHz
    starts: np.ndarray  # (words + 1,) float32: where each word begins and the last ends, seconds

    def without(self, words: int) -> "Utterance":
        """Leave out the first so many words."""
        begin = self.starts[words] if words else 0
        return Utterance(self.samples[int(begin * SAMPLE_RATE) :], self.starts[words:] - begin)


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # in ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The library, which has one state for the whole process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        ]
        self.sample_rate: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0)
        self._pieces: list[np.ndarray] = []
        self._words: dict[int, float] = {}
        self._callback = _Callback(self._receive)  # kept: the library holds only the pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._pieces.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        index = 0
        while events[index].type != LIST_TERMINATED:
            if events[index].type == WORD:
                self._words[events[index].text_position] = events[index].audio_position / 1000
            index += 1
        return 0

    def say(self, text: str, voice: str, settings: dict[int, int]) -> tuple[np.ndarray, dict[int, float]]:
        """Speak; return the samples and the second at which the word at each position of the text begins."""
        self._pieces, self._words = [], {}
        self._library.espeak_SetVoiceByName(voice.encode())
        for setting, value in settings.items():
            self._library.espeak_SetParameter(setting, value, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, CHARACTERS, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._pieces), self._words


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()


def speak(words: grammar.Words, voice: Voice, rng: np.random.Generator) -> Utterance:
    """Speak one sentence with the voice's rate, pitch and intonation drawn at random, without silence around it."""
    settings = {
        RATE: int(rng.integers(*voice.words_per_minute, endpoint=True)),
        PITCH: int(rng.integers(*voice.pitch, endpoint=True)),
        RANGE: int(rng.integers(*voice.intonation, endpoint=True)),
    }
    wave, begins = _espeak().say(grammar.written(words), voice.name, settings)
    samples = soxr.resample(wave.astype(np.float32) / 32768, _espeak().sample_rate, SAMPLE_RATE)
    first, last = _audible(samples)
    offsets = 1 + np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
    starts = np.array([begins.get(int(offset), np.nan) for offset in offsets] + [last / SAMPLE_RATE])
    # The first word begins where something is heard. espeak-ng says some pairs of words as one: share their time.
    starts[0] = first / SAMPLE_RATE
    known = ~np.isnan(starts)
    starts = np.interp(np.arange(len(starts)), np.flatnonzero(known), starts[known])
    begin, end = max(0, first - MARGIN), min(len(samples), last + MARGIN)
    pcm = (samples[begin:end] * 32767).astype(np.int16)
    inside = np.clip(starts - begin / SAMPLE_RATE, 0, len(pcm) / SAMPLE_RATE)
    return Utterance(pcm, inside.astype(np.float32))


def _audible(samples: np.ndarray) -> tuple[int, int]:
    """Return the first and the end of the last audible sample, in steps of 5 ms."""
    step = SAMPLE_RATE // 200
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt((blocks**2).mean(1)) > AUDIBLE)
    return int(loud[0]) * step, int(loud[-1] + 1) * step
