"""The transcript: the canonical record for every format."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from schemas.options import Task

# A time in the media, or a duration: at most 30 years, so that it fits hours and minutes.
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
    speaker: str = ""  # the label of a Speaker; empty if nobody asked who speaks, or nobody knows


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that could not be transcribed; it tells the reader that words are missing here."""

    chunk: int
    start: Seconds
    end: Seconds
    reason: str


class Unheard(msgspec.Struct, frozen=True, kw_only=True):
    """Detected speech in which an engine found no word in two passes."""

    start: Seconds
    end: Seconds


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Words that may never have been said."""

    start: Seconds
    end: Seconds
    reason: str  # in words, for the reader: "repeated 12 times", "no speech detected here"


class Truncated(msgspec.Struct, frozen=True, kw_only=True):
    """The media ends before its declared length."""

    declared: Seconds  # seconds
    decoded: Seconds


class Track(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One audio track of the media."""

    number: int  # from 1, in the order of the file
    language: str = ""  # the file's tag
    title: str = ""
    channels: int = 0
    taken: bool = False  # whether this track was transcribed


class Sound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sound of the media; it explains an empty transcript."""

    peak: float | None = None  # dBFS of the loudest sample; None for digital silence
    level: float | None = None  # dBFS, root mean square over all of it
    speech: float | None = None  # seconds of detected speech; None without voice detection
    tracks: tuple[Track, ...] = ()


class Speaker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the people who speak."""

    label: str  # as in Segment.speaker
    name: str = ""  # if somebody said who it is, or the library of voices knows them
    voice: bytes = b""  # the mean of their embeddings, a signed byte for each dimension


class Transcript(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    job: str
    title: str
    source: str  # the URL or file name of the media
    duration: float  # seconds of media
    task: Task
    language: str | None  # None if nobody spoke
    engines: tuple[str, ...]
    models: tuple[str, ...]
    segments: tuple[Segment, ...]
    speakers: tuple[Speaker, ...] = ()  # if the job asked who speaks, in the order in which they first do
    gaps: tuple[Gap, ...] = ()
    unheard: tuple[Unheard, ...] = ()
    doubtful: tuple[Doubt, ...] = ()
    truncated: Truncated | None = None
    sound: Sound | None = None
    timings: Mapping[str, float] = {}  # seconds by stage
