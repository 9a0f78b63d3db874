"""A chunk: at most 30 s of speech, cut from a job's audio and sent to any free worker."""

from typing import ClassVar

import msgspec

from schemas.message import Message
from schemas.options import Options

SAMPLE_RATE = 16_000  # Hz, for Whisper and Silero VAD
CHUNK_SECONDS = 30  # Whisper's window


class Span(msgspec.Struct, frozen=True, array_like=True):
    """One stretch of the source in a chunk, in samples at SAMPLE_RATE. A JSON pair."""

    start: int  # first sample, counted from the start of the source
    length: int


class ChunkTask(Message, frozen=True, kw_only=True, tag="chunk-task"):
    """Transcribe this chunk. Its audio is the spans' samples, one after the other without gaps."""

    SUBJECT: ClassVar[str] = "v2t.chunk.{queue}.{job}.{n}"

    n: int  # place in the job, from 0
    audio: str  # the object store key of the mono 16 kHz FLAC
    spans: tuple[Span, ...]
    # Detected speech, without the padding of the spans. None: unknown, from an older release.
    speech: tuple[Span, ...] | None = None
    options: Options

    @property
    def queue(self) -> str:
        """Who takes it next: the transcribers with this accelerator."""
        return self.options.accelerator

    @property
    def seconds(self) -> float:
        """Seconds of audio in the chunk."""
        return sum(span.length for span in self.spans) / SAMPLE_RATE

    @property
    def start(self) -> float:
        """The chunk's start in the source, in seconds."""
        return self.spans[0].start / SAMPLE_RATE

    @property
    def end(self) -> float:
        """The chunk's end in the source, in seconds."""
        return (self.spans[-1].start + self.spans[-1].length) / SAMPLE_RATE
