"""The transcript: the canonical record from which every format is written."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from schemas.options import Task

# A time within the media, or a length of time: no more than 30 years, so that it can be written as hours and minutes.
Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    start: Seconds  # seconds from the start of the source, as everywhere below
    end: Seconds
    text: str
    probability: float | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stretch of speech, usually a sentence or a phrase."""

    start: Seconds
    end: Seconds
    text: str
    words: tuple[Word, ...] = ()


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that could not be transcribed, so that the reader knows words are missing here."""

    chunk: int
    start: Seconds
    end: Seconds
    reason: str


class Unheard(msgspec.Struct, frozen=True, kw_only=True):
    """Speech, by the voice detector, in which no word was heard, though it was heard twice."""

    start: Seconds
    end: Seconds


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Words that may never have been said."""

    start: Seconds
    end: Seconds
    reason: str  # in words, for the reader: "repeated 12 times", "no speech detected here"


class Truncated(msgspec.Struct, frozen=True, kw_only=True):
    """The media ends before the length that it declares."""

    declared: Seconds  # seconds
    decoded: Seconds


class Track(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One audio track of the media."""

    number: int  # from 1, in the order of the file
    language: str = ""  # as the file tags it
    title: str = ""
    channels: int = 0
    taken: bool = False  # whether it is the one that was transcribed


class Sound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What there was to hear, so that an empty transcript explains itself."""

    peak: float | None = None  # dBFS of the loudest sample; None for digital silence
    level: float | None = None  # dBFS, root mean square over all of it
    speech: float | None = None  # seconds that the voice detector took for speech; None where it was not asked
    tracks: tuple[Track, ...] = ()


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
    unheard: tuple[Unheard, ...] = ()
    doubtful: tuple[Doubt, ...] = ()
    truncated: Truncated | None = None
    sound: Sound | None = None
    timings: Mapping[str, float] = {}  # seconds by stage
