"""Pulls from a JetStream consumer, one request at a time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Final, Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from v2t_stream.broker.client import NatsClient
from v2t_stream.errors import BrokerError, Denied

# What nats-py raises while a connection is being lost; the last is uvloop's for a closed socket.
GONE: Final = (nats.errors.Error, OSError, RuntimeError)
_AWAY: Final = 0.2  # seconds between checks that the server is back
_FAREWELL: Final = 2.0  # seconds to wait for the last messages of a pull


class Puller:
    """A pull consumer's messages, requested only while a caller waits for them.

    nats-py's own fetch has no priority groups and does not notice a lost server; the pull request and
    status messages are simple enough to write here (ADR-13 describes both).
    """

    def __init__(
        self,
        client: NatsClient,
        stream: str,
        consumer: str,
        *,
        group: str | None = None,
        rank: int = 0,
    ) -> None:
        """`group`, `rank`: for a consumer with a priority group; it serves the waiting client with the lowest rank."""
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self.rank = rank  # may change between calls of `next`
        self._group = group
        self._due = 0  # messages the server still owes us
        self._has_missed = False  # the server fell silent while it owed us messages; they may still come
        self._leaving: asyncio.Task[None] | None = None  # receives the rest of them
        self._queue: asyncio.Queue[Msg | Denied] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._hear)
        self._client.expect(self._inbox, self._subject, self._queue.put_nowait)

    async def _hear(self, message: Msg) -> None:
        if _is_work(message) or message.subject == self._inbox:  # otherwise it is about an older request
            self._queue.put_nowait(message)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop pulling; messages that came in the meantime go back at once, for other workers."""
        self._client.expect_no_more(self._inbox)
        try:
            await self._end(self._subscription)
            if self._leaving:
                await asyncio.wait({self._leaving})
            while not self._queue.empty():
                message = self._queue.get_nowait()
                if isinstance(message, Msg) and _is_work(message):
                    await message.nak()
        except GONE:
            return  # the server is away and will redeliver by itself

    async def _end(self, subscription: Subscription) -> None:
        """Unsubscribe, so that the server drops the request; messages under way still arrive first."""
        if self._client.is_connected:
            async with asyncio.timeout(_FAREWELL):
                await subscription.drain()  # type: ignore[no-untyped-call]
        else:
            await subscription.unsubscribe()

    async def waiting(self, limit: int) -> AsyncGenerator[Msg]:
        """The messages that wait now, at most `limit`, each as it comes. Raises BrokerError like `next`."""
        while limit and (message := await self.next(0, batch=limit)):
            limit -= 1
            yield message

    async def next(self, wait: float = 30.0, *, batch: int = 1) -> Msg | None:
        """The next message; None if none came within `wait` seconds (0: do not wait) or the server went away.

        A request to the server asks for `batch` messages; later calls get the others. Raises BrokerError if the
        consumer no longer exists, and Denied if this user may not take from it.
        """
        heartbeat = min(2.0, wait * 0.4)
        if self._due <= 0 and self._queue.empty() and not await self._ask(wait, heartbeat, batch):
            return None
        while True:
            try:
                async with asyncio.timeout(2 * heartbeat + 0.5):  # wait_for can swallow a cancellation (3.11)
                    message = await self._queue.get()
            except TimeoutError:
                self._due = 0
                self._has_missed = True
                return None
            if isinstance(message, Denied):
                self._due = 0
                raise message
            if _is_work(message):
                self._due -= 1
                return message
            headers = message.headers or {}
            status = headers.get("Status")
            if status == "100":
                continue
            self._due = 0
            if status in ("404", "408"):
                return None
            raise BrokerError(f"cannot pull work: {status} {headers.get('Description')}")

    async def _renew(self) -> None:
        """Use a new inbox from now on; otherwise the server would serve both the old request and the new one."""
        before = self._subscription
        self._client.expect_no_more(self._inbox)
        await self._listen()
        self._has_missed = False
        self._leaving = asyncio.create_task(self._leave(before))
        await asyncio.wait({self._leaving})  # a task of its own: nats-py's wait_for can swallow a cancellation (3.11)

    async def _leave(self, subscription: Subscription) -> None:
        with contextlib.suppress(*GONE):  # the server is away and forgets by itself
            await self._end(subscription)

    async def _ask(self, wait: float, heartbeat: float, batch: int) -> bool:
        """Request messages; False if the server is away."""
        if not self._client.is_connected:
            # The client would queue this request until it reconnects, and the next one too: too many messages.
            await asyncio.sleep(_AWAY)
            return False
        if self._has_missed:
            await self._renew()
            if not self._queue.empty():
                return True
        request: dict[str, object] = {"batch": batch}
        if self._group:
            request |= {"group": self._group, "priority": self.rank}
        if wait:
            request |= {"expires": int(wait * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
        else:
            request["no_wait"] = True
        try:
            await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)
        except nats.errors.Error as error:
            raise BrokerError(f"could not ask for work: {words(error)}") from error
        self._due = batch
        return True


def _is_work(message: Msg) -> bool:
    """Whether this is a message of the stream, which can be acked, and not a status of the server."""
    return message.reply.startswith("$JS.ACK")


def words(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
