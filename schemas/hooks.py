"""What `v2t serve` is asked to tell receivers again."""

from typing import ClassVar

from schemas.message import Message


class Notify(Message, frozen=True, kw_only=True, tag="notify"):
    """Somebody wants a webhook that was given up to be sent again."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.notify"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    fact: str  # the subject of the fact that it tells
