"""What an engine or a service makes of a chunk."""

from typing import NamedTuple

from schemas.transcript import Segment


class Transcription(NamedTuple):
    """What was heard in one chunk, in seconds from the chunk's own start."""

    segments: tuple[Segment, ...]
    language: str
    confidence: float = 1.0  # how sure the engine is of a language it detected, 0 to 1
