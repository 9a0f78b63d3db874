"""What keeps a repeated request from making a second job."""

from typing import ClassVar

from schemas.message import Message


class Once(Message, frozen=True, kw_only=True, tag="once"):
    """A request to the HTTP API with an `Idempotency-Key`; it is kept for a day.

    It is stored before the request is submitted, still without a job, and replaced when the job is known.
    """

    SUBJECT: ClassVar[str] = "v2t.once.{name}"
    BY_RUN: ClassVar[bool] = False

    name: str  # a hash of the key and of whoever sent it
    digest: str  # of what was asked for
    message: str = ""  # the id under which it is submitted, so that the broker takes it once
