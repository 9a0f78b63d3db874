"""The engines that are installed, by the names of their entry points."""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from v2t_stream.errors import Reject

if TYPE_CHECKING:  # numpy takes a while to import, and most processes need no samples
    from v2t_stream.transcription.transcriber import Transcriber

_GROUP: Final = "v2t.transcribers"


def engine_names() -> list[str]:
    """The installed engines, without importing any."""
    return sorted({point.name for point in entry_points(group=_GROUP)})


def load_engine(name: str) -> "type[Transcriber]":
    """Import the engine called `name`; raises Reject where it is not installed."""
    for point in entry_points(group=_GROUP, name=name):
        engine: type[Transcriber] = point.load()
        return engine
    raise Reject(f"unknown engine {name!r}: this machine has {', '.join(engine_names())}")
