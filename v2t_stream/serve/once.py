"""Requests that a client may repeat: the same `Idempotency-Key` gives the same job for a day.

Whoever is first stores a claim, and everyone who has the claim submits under its message id: the broker then makes one
job, however many servers do this at once, and whichever of them dies.
"""

import hashlib
import logging
import secrets
import time
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from schemas.message import decode_as
from schemas.once import Once
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.serve.problems import Problem
from v2t_stream.topology.streams import DEDUPE_WINDOW, ONCE

log = logging.getLogger(__name__)

_LONGEST: Final = 255  # characters of a key
_MARGIN: Final = 30.0  # seconds that a submission may take


class Claim(NamedTuple):
    """A request with a key, as it is stored."""

    once: Once
    sequence: int

    @property
    def job(self) -> str:
        """The job that it made; empty if that is not known yet."""
        return self.once.job

    async def keep(self, connection: Connection, job: str) -> None:
        """Let the key give this job. If that fails, the job is there nevertheless."""
        try:
            await connection.publish(replace(self.once, job=job), replaces=self.sequence)
        except BrokerError as error:
            log.warning("the job %s of an Idempotency-Key is not stored: %s", job, error)


class Repeatable:
    """A request with a key that has arrived."""

    def __init__(
        self, connection: Connection, *, sender: str, key: str, about: bytes, window: float = DEDUPE_WINDOW - _MARGIN
    ) -> None:
        """`about`: the same if the same is asked for. `window`: seconds in which a claim counts. Raises Problem."""
        if len(key) > _LONGEST:
            raise Problem(400, f"the Idempotency-Key has {len(key)} characters: send at most {_LONGEST}")
        self._connection = connection
        self._window = window
        self._new = Once(
            job="",
            name=hashlib.sha256(f"{sender}\0{key}".encode()).hexdigest(),
            digest=hashlib.sha256(about).hexdigest(),
            message=secrets.token_urlsafe(),
        )

    async def earlier(self) -> Claim | None:
        """What the key stands for; None if it is new. Raises Problem if that is something else, and BrokerError."""
        stored = await self._connection.last(ONCE, self._new.subject)
        if stored is None:
            return None
        try:
            claim = Claim(decode_as(Once, stored.data), stored.sequence)
        except msgspec.DecodeError:
            raise Problem(409, "a newer release of v2t serve keeps this Idempotency-Key: use a new key") from None
        if claim.once.digest != self._new.digest:
            raise Problem(
                422, "this Idempotency-Key was sent with another body: use a new key", code="idempotency_key_reused"
            )
        if not claim.job and time.time() - stored.at > self._window:
            # The server died in between, and by now the broker would take the same message twice.
            raise Problem(
                409,
                "an earlier request with this Idempotency-Key was interrupted, and may have made a job: look for it "
                "with GET /v1/jobs, or use a new key",
            )
        return claim

    async def claimed(self) -> Claim:
        """The claim of whoever was first. Raises Problem and BrokerError."""
        await self._connection.publish(self._new)
        claim = await self.earlier()
        if claim is None:
            raise BrokerError("the broker lost an Idempotency-Key: send the request again")
        return claim
