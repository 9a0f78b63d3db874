"""What a link leads to, in words that both sides of the download process know; nothing here loads yt-dlp."""

from pathlib import Path
from typing import Final, NamedTuple

from v2t_stream.settings import Settings

_GIB: Final = 1024**3


class Media(NamedTuple):
    path: Path
    title: str


class Entry(NamedTuple):
    """One medium of a list that nobody has looked at yet."""

    url: str
    place: int | None  # its number in the list at `url`, from 1, where it has no link of its own
    title: str
    origin: str  # as in Downloaded, where the list gives it
    is_titled: bool = False  # the title is the list's own, and counts more than what the medium says


class Listing(NamedTuple):
    title: str
    entries: list[Entry]


def too_large(name: str, size: float, settings: Settings) -> str:
    """The sentence for media that V2T_MAX_BYTES forbids."""
    return (
        f"{name} has {size / _GIB:.2f} GiB, more than the {settings.max_bytes / _GIB:.2f} GiB allowed: raise "
        "V2T_MAX_BYTES (bytes)"
    )
