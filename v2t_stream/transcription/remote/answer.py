"""Makes a Transcription from the answer of a service."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from schemas.options import Request
from schemas.transcript import Segment, Word
from v2t_stream.errors import Retry
from v2t_stream.languages import code_of
from v2t_stream.transcription.result import Transcription

_NO_SPEECH = 0.6  # Whisper's own guards against invented text (openai/whisper, transcribe.py)
_UNSURE = -1.0


class HeardWord(msgspec.Struct):
    """A word as Whisper services return it."""

    word: str
    start: float
    end: float
    probability: float | None = None


class HeardSegment(msgspec.Struct):
    """A segment of Whisper's verbose JSON, without the fields that we do not read."""

    text: str
    start: float
    end: float
    words: list[HeardWord] | None = None
    no_speech_prob: float | None = None
    avg_logprob: float | None = None

    @property
    def is_silence(self) -> bool:
        return (self.no_speech_prob or 0.0) > _NO_SPEECH and (self.avg_logprob or 0.0) < _UNSURE


def convert(data: Any, kind: Any, name: str) -> Any:
    """`data` as `kind`. Raises Retry: if the answer does not fit, the service is broken, not the chunk."""
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Retry(f"{name} gave an answer that cannot be read: {error}") from None


def transcription(
    segments: Sequence[HeardSegment],
    words: Iterable[HeardWord],
    *,
    text: str,
    language: str,
    seconds: float,
    request: Request,
) -> Transcription:
    """The transcription of a chunk of `seconds`. Text without segments becomes one segment."""
    spoken = "en" if request.task == "translate" else request.language or code_of(language)
    if not segments and text.strip():
        segments = [HeardSegment(text=text, start=0.0, end=seconds)]
    shared = _shared_out(segments, words)
    done = []
    for segment, loose in zip(segments, shared, strict=True):
        if segment.is_silence or not segment.text.strip():
            continue
        start = _within(segment.start, 0.0, seconds)
        end = _within(segment.end, start, seconds)
        heard = (segment.words or loose) if request.word_timestamps else ()
        timed = tuple(_word(word, start, end) for word in heard if word.word.strip())
        done.append(Segment(start=start, end=end, text=segment.text.strip(), words=timed))
    return Transcription(tuple(done), spoken)


def _shared_out(segments: Sequence[HeardSegment], words: Iterable[HeardWord]) -> list[list[HeardWord]]:
    """The words of each segment, if a service lists them separately.

    A word between two segments goes to the later one, and none is lost.
    """
    later = [segment.start for segment in segments[1:]]
    shared: list[list[HeardWord]] = [[] for _ in segments]
    for word in sorted(words, key=lambda word: word.start) if segments else ():
        shared[bisect_right(later, (word.start + word.end) / 2)].append(word)
    return shared


def _word(word: HeardWord, low: float, high: float) -> Word:
    start = _within(word.start, low, high)
    return Word(
        start=start,
        end=_within(word.end, start, high),
        text=word.word.strip(),
        probability=None if word.probability is None else round(word.probability, 3),
    )


def _within(seconds: float, low: float, high: float) -> float:
    return round(min(max(seconds, low), high), 3) if math.isfinite(seconds) else low
