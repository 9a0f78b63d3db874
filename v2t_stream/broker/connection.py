"""The connection to NATS: reads like Reader, and publishes with an ack."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from typing import Any, Final, Self

import nats.errors

from schemas.message import Message, encode
from v2t_stream.broker import error_codes
from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.puller import GONE, words
from v2t_stream.broker.reading import Reader
from v2t_stream.broker.requests import AGAIN
from v2t_stream.errors import BrokerError
from v2t_stream.traces import begin, header

log = logging.getLogger(__name__)

_PUBLISH_PATIENCE: Final = 120.0  # seconds that a publish waits for an absent broker
_FLUSH: Final = 2  # seconds for the last flush; a server that goes down then never answers


class Connection(Reader):
    """One connection to a NATS server with JetStream. Made by `connect`."""

    def __init__(
        self, client: NatsClient, url: str, *, again: float = AGAIN, publish_patience: float = _PUBLISH_PATIENCE
    ) -> None:
        super().__init__(client, url, again=again)
        self._publish_patience = publish_patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        with contextlib.suppress(*GONE):
            if self.client.is_connected:
                await self.client.flush(_FLUSH)
        with contextlib.suppress(*GONE):
            await self.client.close()

    async def publish(self, message: Message, *, dedupe: str = "", replaces: int = 0) -> bool:
        """Publish `message` on its subject and wait until it is stored; False if the subject already has a message.

        That one may be our own if its answer was lost. A message whose class says ONCE is stored only if nothing is on
        the subject that excludes it, which for most is their own. While the broker is away this tries again for two
        minutes, then raises BrokerError. Each try carries the same id, so the message is stored once, even if somebody
        has removed it since. `dedupe`: an id under which a later call within two minutes counts as the same.
        `replaces`: the sequence that the message's own subject must have now.
        """
        headers = {"Nats-Msg-Id": dedupe or secrets.token_urlsafe(9), **header()}
        if replaces or message.ONCE:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(replaces)
        if message.excluded_by != message.subject and message.ONCE and not replaces:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = message.excluded_by
        answer = await self.store(message.subject, encode(message), headers)
        error = answer.get("error")
        if error is None:
            self.lineage.stored(answer["stream"], answer["seq"])
            return True
        if error.get("err_code") == error_codes.WRONG_SEQUENCE:
            return False
        raise self.refusal(message.subject, error)

    async def submit(
        self, subject: str, data: bytes, dedupe: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bool]:
        """Put bytes into the inbox; returns their sequence number, and whether this `dedupe` id was already there."""
        answer = await self.store(subject, data, {"Nats-Msg-Id": dedupe, **(headers or {}), **begin()}, patient=False)
        if error := answer.get("error"):
            raise self.refusal(subject, error)
        self.lineage.stored(answer["stream"], answer["seq"])
        return answer["seq"], answer.get("duplicate", False)

    async def store(
        self, subject: str, data: bytes, headers: dict[str, str], *, patient: bool = True
    ) -> dict[str, Any]:
        """Publish on a subject of a stream until the server answers; returns the answer, perhaps an error.

        A duplicate in the answer comes from another call. `patient`: also wait for room. Raises BrokerError after two
        minutes without success.
        """
        give_up = time.monotonic() + self._publish_patience
        sent = 0
        while True:
            sent += 1
            try:
                await self.check_store()
                reply = await self.client.request(subject, data, timeout=self.again, headers=headers)
                answer: dict[str, Any] = json.loads(reply.data)
            except (nats.errors.ConnectionClosedError, nats.errors.MaxPayloadError) as error:
                raise BrokerError(f"could not publish {subject}: {words(error)}") from error
            except (nats.errors.Error, TimeoutError) as error:
                # No responders also means that a restarted server has not recovered its streams yet.
                if time.monotonic() > give_up:
                    raise BrokerError(f"no answer from the NATS server at {self.url} to {subject}") from error
                await asyncio.sleep(0.2)
            else:
                # 503: JetStream is up, but the stream has no leader or no room right now.
                refusal = answer.get("error", {})
                code = refusal.get("err_code")
                if (refusal.get("code") != 503 and code not in error_codes.IN_PROCESS) or time.monotonic() > give_up:
                    return answer if sent == 1 else {**answer, "duplicate": False}
                if code in error_codes.NO_ROOM and not patient:
                    raise BrokerError(
                        f"the NATS server at {self.url} has no room left: free disk space there, or raise its "
                        "max_file_store"
                    )
                await asyncio.sleep(0.2)

    async def tell(self, message: Message) -> None:
        """Publish for display only, without waiting."""
        if self.is_checked:
            with contextlib.suppress(nats.errors.Error):  # lost progress does no harm
                await self.client.publish(message.subject, encode(message))
