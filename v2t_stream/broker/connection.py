"""The connection to NATS: publishes with an ack, and keeps to one and the same store."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from functools import partial
from typing import Any, Final, Self

import nats.errors

from schemas.message import Message, encode
from v2t_stream.broker import error_codes
from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.puller import GONE, words
from v2t_stream.broker.reading import Reader
from v2t_stream.broker.requests import AGAIN
from v2t_stream.errors import BrokerError, StoreChanged
from v2t_stream.traces import begin, header

log = logging.getLogger(__name__)

_PUBLISH_PATIENCE: Final = 120.0  # seconds a publish outlasts a broker that is away
_FLUSH: Final = 2  # seconds at the end of a connection; a server that goes at that moment never answers


class Connection(Reader):
    """One connection to a NATS server with JetStream. Made by `connect`."""

    def __init__(self, client: NatsClient, url: str) -> None:
        super().__init__(client, url)
        self._held = ""  # the stream that must stay the same
        self._created: str | None = None  # when it was, as the server told
        self._checked = 0  # the reconnects after which it was found to be the same
        self._newest: dict[str, int] = {}  # by stream, the highest sequence that was seen

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

    async def hold_to(self, stream: str) -> None:
        """Work for the streams of now alone: where `stream` is another one after a reconnect, publishing raises.

        A message of a store that was lost has the number of another message in the next: its ack would remove work
        that nobody has done, and its job may have the id of another job. Raises BrokerError.
        """
        self._checked = self.client.stats["reconnects"]
        info = await self.api(f"STREAM.INFO.{stream}")
        self._created = info["created"]
        self._held = stream
        self.saw(stream, info["state"]["last_seq"])

    def saw(self, stream: str, sequence: int) -> None:
        """Remember that a message of this sequence was there: a stream in which it is yet to come is an older copy."""
        self._newest[stream] = max(sequence, self._newest.get(stream, 0))

    async def check_store(self) -> None:
        """Raises StoreChanged as `hold_to` says, and nats.errors.Error while that cannot be told."""
        if self._is_checked:
            return
        if not self.client.is_connected:
            raise nats.errors.ConnectionReconnectingError
        reconnects = self.client.stats["reconnects"]
        for stream, newest in list(self._newest.items()):
            ask = partial(self.client.request, f"$JS.API.STREAM.INFO.{stream}", b"")
            reply = await self.patiently(ask)
            info = json.loads(reply.data)
            if "created" not in info:  # the server has not recovered it yet, or nobody has made it anew
                raise nats.errors.ConnectionReconnectingError
            is_other = stream == self._held and info["created"] != self._created
            if is_other or info["state"]["last_seq"] < newest:
                what = "other streams" if is_other else f"an older copy of {stream}"
                raise StoreChanged(f"the NATS server at {self.url} came back with {what}: starting anew with that")
        self._checked = reconnects

    @property
    def _is_checked(self) -> bool:
        return not self._held or (self.client.is_connected and self.client.stats["reconnects"] == self._checked)

    async def watch_store(self) -> None:
        """Until cancelled, or until it raises StoreChanged."""
        while True:
            with contextlib.suppress(nats.errors.Error):
                await self.check_store()
            await asyncio.sleep(1)

    async def publish(self, message: Message, *, dedupe: str = "", replaces: int = 0) -> bool:
        """Publish `message` on its subject and wait until it is stored; False where one stands there already.

        That one may be our own, where the answer to it was lost. A message whose class says ONCE is stored only where
        nothing stands on the subject that excludes it, for most their own. While the broker is away this tries again
        for two minutes, then it raises BrokerError. What is sent again carries the same id, so it is stored once, also
        where somebody has removed it since. `dedupe`: the id where a later call is to count as the same within two
        minutes. `replaces`: the sequence of what must stand on the message's own subject.
        """
        headers = {"Nats-Msg-Id": dedupe or secrets.token_urlsafe(9), **header()}
        if replaces or message.ONCE:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(replaces)
        if message.excluded_by != message.subject and message.ONCE and not replaces:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = message.excluded_by
        answer = await self.store(message.subject, encode(message), headers)
        error = answer.get("error")
        if error is None:
            return True
        if error.get("err_code") == error_codes.WRONG_SEQUENCE:
            return False
        raise self.refusal(message.subject, error)

    async def submit(self, subject: str, data: bytes, dedupe: str) -> tuple[int, bool]:
        """Put bytes into the inbox; their sequence number, and whether the same `dedupe` id was there already."""
        answer = await self.store(subject, data, {"Nats-Msg-Id": dedupe, **begin()}, patient=False)
        if error := answer.get("error"):
            raise self.refusal(subject, error)
        return answer["seq"], answer.get("duplicate", False)

    async def store(
        self, subject: str, data: bytes, headers: dict[str, str], *, patient: bool = True
    ) -> dict[str, Any]:
        """Publish on a subject of a stream until the server says what became of it; its answer, perhaps an error.

        A duplicate in the answer is one of another call. `patient`: also where there is no room. Raises BrokerError
        where two minutes did not do.
        """
        give_up = time.monotonic() + _PUBLISH_PATIENCE
        sent = 0
        while True:
            sent += 1
            try:
                await self.check_store()
                reply = await self.client.request(subject, data, timeout=AGAIN, headers=headers)
                answer: dict[str, Any] = json.loads(reply.data)
            except (nats.errors.ConnectionClosedError, nats.errors.MaxPayloadError) as error:
                raise BrokerError(f"could not publish {subject}: {words(error)}") from error
            except (nats.errors.Error, TimeoutError) as error:
                # No responders also means: the server is up again and has not recovered its streams yet.
                if time.monotonic() > give_up:
                    raise BrokerError(f"no answer from the NATS server at {self.url} to {subject}") from error
                await asyncio.sleep(0.2)
            else:
                # 503: JetStream is up but the stream has no leader, or no room, at this moment.
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
        """Publish for display only, waiting for nothing."""
        if self._is_checked:
            with contextlib.suppress(nats.errors.Error):  # progress that nobody sees costs nothing
                await self.client.publish(message.subject, encode(message))
