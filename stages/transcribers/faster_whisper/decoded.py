"""Decides what counts in a decoded window, by Whisper's own guards, and makes our words of it: pure logic."""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas.transcript import Segment, Word

# Whisper's own guards against invented text (openai/whisper, transcribe.py).
NO_SPEECH = 0.6
UNSURE = -1.0  # mean log probability of the tokens
REPETITIVE = 2.4  # text size by compressed size


class Window(NamedTuple):
    """What the decoder made of one window."""

    tokens: list[int]  # of text alone
    text: str
    sureness: float  # mean log probability
    no_speech: float  # probability

    @property
    def is_silence(self) -> bool:
        return self.no_speech > NO_SPEECH and self.sureness < UNSURE

    @property
    def is_doubtful(self) -> bool:
        """Whether it looks like one of Whisper's loops or guesses."""
        return not self.is_silence and (self.sureness < UNSURE or is_repetitive(self.text))


def is_repetitive(text: str) -> bool:
    data = text.encode()
    return len(data) > REPETITIVE * len(zlib.compress(data))


def is_guess(segment: Any, *, careful: bool) -> bool:
    """Whether Whisper itself takes a segment for silence; when it is heard a second time, also if it is unsure."""
    unsure = segment.avg_logprob < UNSURE
    if careful:
        return bool(unsure or segment.no_speech_prob > NO_SPEECH or is_repetitive(segment.text))
    return bool(unsure and segment.no_speech_prob > NO_SPEECH)


def as_one(text: str, words: tuple[Word, ...]) -> tuple[Segment, ...]:
    """A window as one segment; the pipeline makes its own segments of the words."""
    return (Segment(start=words[0].start, end=words[-1].end, text=text, words=words),) if words else ()


def words_of(found: Iterable[dict[str, Any]], low: float, high: float) -> tuple[Word, ...]:
    """The library's words as ours, kept between `low` and `high` seconds."""
    return tuple(
        Word(
            start=(start := within(word["start"], low, high)),
            end=within(word["end"], start, high),
            text=text,
            probability=round(float(word["probability"]), 3),
        )
        for word in found
        if (text := word["word"].strip())
    )


def within(seconds: float, low: float, high: float) -> float:
    return round(min(max(float(seconds), low), high), 3)
