"""Receives many answers to messages on one subject. Waiting ends when the connection that sent them is lost."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import nats.errors
from nats.aio.msg import Msg

from v2t_stream.broker.client import NatsClient
from v2t_stream.errors import Denied

_GLANCE: Final = 0.5  # seconds between checks that the server is still there


class Answers:
    """An inbox for the answers to `asked`. It drops none: never ask for more than memory can hold."""

    def __init__(self, client: NatsClient, asked: str, timeout: float) -> None:
        """`timeout`: seconds that one answer may take."""
        self._client = client
        self._asked = asked
        self._timeout = timeout
        self._denied: Denied | None = None  # the first of several refusals
        self._life: int | None = None  # which connection this is, by its reconnects

    async def __aenter__(self) -> Self:
        inbox = self._client.new_inbox()
        self._inbox = await self._client.subscribe(inbox, pending_msgs_limit=0, pending_bytes_limit=0)
        self._client.expect(inbox, self._asked, self._deny)
        self._is_lost()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.expect_no_more(self._inbox.subject)
        with suppress(nats.errors.Error):  # a closed connection has nothing to give back
            await self._inbox.unsubscribe()

    def _deny(self, error: Denied) -> None:
        self._denied = self._denied or error

    @property
    def subject(self) -> str:
        """The reply subject."""
        return self._inbox.subject

    async def next(self) -> Msg:
        """The next answer. Raises nats-py's Error if it is lost or late, and Denied if the request is forbidden."""
        waiting = asyncio.create_task(self._inbox.next_msg(self._timeout))
        # If a refusal ends the wait first, asyncio must not report what becomes of this.
        waiting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            while not (await asyncio.wait({waiting}, timeout=_GLANCE))[0]:
                if self._denied:
                    raise self._denied
                if self._is_lost():
                    raise nats.errors.Error("the connection to the NATS server was lost: try again when it is back")
            answer = waiting.result()
        finally:
            waiting.cancel()
        if (answer.headers or {}).get("Status") == "503":
            raise nats.errors.NoRespondersError
        return answer

    async def hear_out(self, due: int, within: float | None = None) -> None:
        """Wait for `due` answers, whatever they say; stop at the first that does not come, or `within` seconds."""
        with suppress(nats.errors.Error, TimeoutError):
            async with asyncio.timeout(within):
                for _ in range(due):
                    await self.next()

    def _is_lost(self) -> bool:
        """Whether the first connection has been replaced; requests made before the first are sent when it comes."""
        life = self._client.stats["reconnects"] if self._client.is_connected else None
        if self._life is None:
            self._life = life
        return life != self._life
