"""Requests of the JetStream API: repeated if a server or leader went away, refused with the server's code.

This module translates nats-py's exceptions into ours; nothing above it sees them.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, Self, TypeVar

import nats.errors
from nats.aio.msg import Msg

from v2t_stream.broker import error_codes
from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.direct_get import status_of
from v2t_stream.broker.puller import words
from v2t_stream.errors import BrokerError, Refused

AGAIN: Final = 2.0  # seconds
PATIENCE: Final = 30.0  # seconds until a request is given up: an election takes 20 on a busy machine
_LAST: Final = 10.0  # of these, for the last try

Answer = TypeVar("Answer")


class Stored(NamedTuple):
    """One message as a stream holds it."""

    subject: str
    data: bytes
    sequence: int
    at: float  # Unix seconds by the server's clock, the only clock all machines share

    @classmethod
    def of(cls, message: Msg) -> Self:
        """From the answer of a direct get; the server's headers override the publisher's of the same name."""
        headers: dict[str, str] = message.headers or {}
        at = datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp()
        return cls(headers["Nats-Subject"], message.data, int(headers["Nats-Sequence"]), at)


class Requests:
    """Requests to the JetStream behind one client."""

    def __init__(self, client: NatsClient, url: str, *, patience: float = PATIENCE, again: float = AGAIN) -> None:
        """`patience`: seconds that a request may take in total. `again`: seconds until one is repeated."""
        self.client = client
        self.url = url
        self._patience = patience
        self.again = again

    async def api(self, name: str, request: object = None) -> dict[str, Any]:
        """The answer to one request, such as STREAM.INFO.V2T_JOBS.

        Raises Refused with the server's code and description, and BrokerError if nobody answers.
        """
        with self._translated(name):
            return await self.patiently(lambda seconds: self._ask(name, request, seconds))

    async def find(self, name: str, request: object = None) -> dict[str, Any] | None:
        """The same, but None if the stream, consumer or message does not exist."""
        try:
            return await self.api(name, request)
        except Refused as error:
            if error.code not in error_codes.NOT_FOUND:
                raise
            return None

    async def direct(self, stream: str, subject: str = "", **request: Any) -> Stored | None:
        """One message from any replica, which may lag behind; None if that replica has none.

        It is the last on `subject`, or the one that `request` names (ADR-31). Raises Refused, also if the stream does
        not exist, and BrokerError if nobody answers.
        """
        reply = await self.direct_with_headers(stream, subject, **request)
        return Stored.of(reply) if reply else None

    async def direct_with_headers(self, stream: str, subject: str = "", **request: Any) -> Msg | None:
        """The same, with the headers of the message."""
        name = f"DIRECT.GET.{stream}" + (f".{subject}" if subject else "")
        payload = json.dumps(request).encode() if request else b""
        with self._translated(name):
            try:
                reply = await self.patiently(partial(self.client.request, f"$JS.API.{name}", payload))
            except nats.errors.NoRespondersError:
                missing = {"err_code": error_codes.NO_STREAM, "description": "stream not found"}
                raise self.refusal(name, missing) from None
        status = status_of(reply)
        if status in ("404", "204"):
            return None
        if status:
            raise self.refusal(name, {"code": int(status), "description": (reply.headers or {}).get("Description")})
        return reply

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """The subjects in `stream` that match `pattern` and hold a message. Raises BrokerError."""
        found: dict[str, int] = {}
        while True:  # the server returns at most 100,000 subjects at a time
            answer = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": len(found)})
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return list(found)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The latest message on `subject`, or None; from the stream's leader, because a replica may lag behind."""
        return await self.message(stream, last_by_subj=subject)

    async def message(self, stream: str, **which: Any) -> Stored | None:
        """The message that `which` names, in the form of STREAM.MSG.GET, or None; from the stream's leader."""
        answer = await self.find(f"STREAM.MSG.GET.{stream}", which)
        if answer is None:
            return None
        message = answer["message"]
        at = datetime.fromisoformat(message["time"]).timestamp()
        return Stored(message["subject"], base64.b64decode(message.get("data", "")), message["seq"], at)

    async def user_info(self, seconds: float) -> dict[str, Any] | None:
        """What the server says about this user and itself; None if it does not answer within `seconds`."""
        try:
            reply = await self.client.request("$SYS.REQ.USER.INFO", b"", timeout=seconds)
        except (nats.errors.Error, TimeoutError):
            return None
        info: dict[str, Any] = json.loads(reply.data)
        return info

    def refusal(self, name: str, error: dict[str, Any]) -> Refused:
        """`error`: from the server's answer."""
        description = error.get("description") or f"status {error.get('code')}"
        code = error.get("err_code") or 0
        return Refused(f"the NATS server at {self.url} refused {name}: {description}", code, description)

    def read(self, name: str, data: bytes) -> dict[str, Any]:
        """Decode an answer; raises Refused if it is an error."""
        answer: dict[str, Any] = json.loads(data)
        if error := answer.get("error"):
            raise self.refusal(name, error)
        return answer

    async def patiently(self, ask: Callable[[float], Awaitable[Answer]]) -> Answer:
        """The result of `ask`; calls it again if it takes longer than the seconds it gets.

        So a request that was under way when the server or a leader went down does not wait long. The last try raises
        TimeoutError.
        """
        last = min(_LAST, self._patience)
        until = time.monotonic() + self._patience - last
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                return await ask(self.again)
        return await ask(last)

    async def _ask(self, name: str, request: object, seconds: float) -> dict[str, Any]:
        payload = json.dumps(request).encode() if request is not None else b""
        reply = await self.client.request(f"$JS.API.{name}", payload, timeout=seconds)
        try:
            return self.read(name, reply.data)
        except Refused as error:
            if error.code != error_codes.NO_LEADER:
                raise
            await asyncio.sleep(self.again)
            raise nats.errors.TimeoutError from None

    @contextlib.contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Turn a missing answer into BrokerError."""
        try:
            yield
        except nats.errors.NoRespondersError:
            raise BrokerError(f"the NATS server at {self.url} has no JetStream: start it with -js") from None
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer {name}: {words(error)}") from error
