"""What keeps a repeated request from making a second job."""

from typing import ClassVar

from schemas.message import Message


class Once(Message, frozen=True, kw_only=True, tag="once"):
    """A request to the HTTP API with an `Idempotency-Key` made this job; it is kept for a day."""

    SUBJECT: ClassVar[str] = "v2t.once.{name}"
    BY_RUN: ClassVar[bool] = False

    name: str  # a hash of the key and of whoever sent it
    digest: str  # of what was asked for
