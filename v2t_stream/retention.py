"""How long things are kept."""

from typing import Final, NamedTuple

HOUR: Final = 3600.0  # seconds
DAY: Final = 24 * HOUR


class Retention(NamedTuple):
    """Ages in seconds at which things expire; 0: never."""

    media: float = 72 * HOUR  # and their chunks
    facts: float = 30 * DAY  # of jobs
    dead: float = 30 * DAY  # letters
    transcripts: float = 0.0  # and the memory that something was transcribed
