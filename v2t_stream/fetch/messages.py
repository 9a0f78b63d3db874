"""What a stage and its download process say to each other: one Order, and what follows from it."""

import msgspec

from v2t_stream.fetch.media import Listing
from v2t_stream.settings import Settings


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Its fields are the arguments of Fetch."""

    url: str
    folder: str
    settings: Settings
    place: int | None = None
    limit: int | None = None


class Received(msgspec.Struct, frozen=True, tag=True):
    received: int  # bytes
    expected: float | None


class Looked(msgspec.Struct, frozen=True, tag=True):
    listing: Listing | None
    origin: str
    more: bool = False  # whether the process can take another link; the same below


class Fetched(msgspec.Struct, frozen=True, tag=True):
    name: str  # of the file in the folder
    title: str
    more: bool = False


class Failed(msgspec.Struct, frozen=True, tag=True):
    again: bool  # whether it may succeed later
    text: str
    more: bool = False


Answer = Received | Looked | Fetched | Failed
