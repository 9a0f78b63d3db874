"""The transcript: the canonical record from which every format is written."""

from collections.abc import Mapping

import msgspec

from schemas.options import Task


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    start: float  # seconds from the start of the source, as everywhere below
    end: float
    text: str
    probability: float | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stretch of speech as the engine gave it, usually a sentence or a phrase."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that could not be transcribed, so that the reader knows words are missing here."""

    chunk: int
    start: float
    end: float
    reason: str


class Transcript(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    job: str
    title: str
    source: str  # the URL, or the name of the file, it was made from
    duration: float  # seconds of media
    task: Task
    language: str | None  # None where nothing was said
    engines: tuple[str, ...]
    models: tuple[str, ...]
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    timings: Mapping[str, float] = {}  # seconds by stage
