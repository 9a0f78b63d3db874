"""What the store says of a file that arrives in pieces. Each of these objects is written once."""

from typing import Annotated

import msgspec
from msgspec import Meta

Bytes = Annotated[int, Meta(ge=0)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An upload has begun."""

    media: str  # object store key of the whole file, when it is there
    name: str = ""  # of the file
    length: Bytes | None = None  # bytes, as its sender declared; None: not known until its end
    about: Bytes | None = None  # bytes, for people, if the length is not known
    begun: float  # Unix seconds
    owner: str = ""  # the key of the HTTP API with which it is sent
    metadata: str = ""  # as its sender wrote it: the tus header Upload-Metadata


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """No more pieces will come."""

    size: Bytes  # bytes that have come
    problem: str = ""  # why they are not the whole file; a sentence
