"""Facts as the HTTP API tells them."""

from typing import Any

import msgspec

from schemas.events import ChunkDone, Tries
from schemas.message import Message
from v2t_stream.broker.requests import Stored
from v2t_stream.serve.sse import encoded
from v2t_stream.serve.tail import Event
from v2t_stream.topology.subjects import decode


def event_of(stored: Stored) -> Event | None:
    """A fact as an event; None if clients have no use for it, or if only a newer release can read it."""
    try:
        fact = decode(stored.subject, stored.data)
    except msgspec.DecodeError:
        return None
    if fact is None or isinstance(fact, Tries):  # those are for workers
        return None
    text = encoded(str(type(fact).__struct_config__.tag), msgspec.json.encode(public(fact)), id_=stored.sequence)
    return Event(stored.sequence, text)


def public(fact: Message) -> dict[str, Any]:
    """A fact without what only the pipeline needs, such as the voices in a chunk."""
    if isinstance(fact, ChunkDone):
        fact = msgspec.structs.replace(fact, windows=())
    told: dict[str, Any] = msgspec.to_builtins(fact)
    for part in (told, told.get("begins", {})):
        part.pop("link", None)
    return told
