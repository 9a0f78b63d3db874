"""Requests that a client may repeat: the same `Idempotency-Key` gives the same job for a day."""

import hashlib
from typing import NamedTuple, Self

import msgspec
from aiohttp import web

from schemas.message import decode_as
from schemas.once import Once
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.gate import caller
from v2t_stream.serve.problems import Problem
from v2t_stream.topology.streams import ONCE


class Claim(NamedTuple):
    """A request with a key."""

    name: str  # one token of a subject, of whoever sent it and the key
    digest: str  # of what is asked for

    @classmethod
    def of(cls, request: web.Request, key: str, about: bytes) -> Self:
        name = hashlib.sha256(f"{caller(request).id}\0{key}".encode()).hexdigest()
        return cls(name, hashlib.sha256(about).hexdigest())

    @property
    def message_id(self) -> str:
        """Two such requests at the same moment make one job, by the broker's own rule."""
        return f"{self.name}-{self.digest}"

    async def earlier(self, request: web.Request) -> str:
        """The job that the key has given; empty if it is new. Raises Problem if it gave one for something else."""
        stored = await request.app[PIPELINE].connection.last(ONCE, Once.subject_of(name=self.name))
        try:
            before = decode_as(Once, stored.data) if stored else None
        except msgspec.DecodeError:  # from a newer release
            return ""
        if before and before.digest != self.digest:
            raise Problem(
                422, "this Idempotency-Key was sent with another body: use a new key", code="idempotency_key_reused"
            )
        return before.job if before else ""

    async def keep(self, request: web.Request, job: str) -> None:
        """Let the key give this job."""
        await request.app[PIPELINE].connection.publish(Once(job=job, name=self.name, digest=self.digest))
