"""How long things are kept."""

from typing import Final, NamedTuple

HOUR: Final = 3600.0  # seconds
DAY: Final = 24 * HOUR


class Retention(NamedTuple):
    """Ages in seconds at which things are forgotten; 0: never."""

    media: float = 72 * HOUR  # and the chunks cut from them
    facts: float = 30 * DAY  # of jobs
    dead: float = 30 * DAY  # letters
    transcripts: float = 0.0  # with what tells that something was transcribed before
