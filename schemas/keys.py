"""A key of the HTTP API."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

KeyRole = Literal["submitter", "viewer", "operator"]


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the broker keeps of a key: never the key itself. Unknown fields are ignored, so that releases mix."""

    SUBJECT: ClassVar[str] = "v2t.key.{id}"

    id: str  # the public part of the key
    name: str  # whose it is
    role: KeyRole
    digest: str = ""  # the SHA-256 of the whole key; empty once it is removed, and then no key fits
    requests: Annotated[int, Meta(ge=0)] = 0  # a minute; 0: any number
    max_bytes: Annotated[int, Meta(ge=0)] = 0  # of one upload; 0: as many as the server takes
    by: str = ""  # who added it

    @property
    def subject(self) -> str:
        return self.SUBJECT.format(id=self.id)

    @property
    def is_removed(self) -> bool:
        return not self.digest
