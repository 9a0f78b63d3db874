"""Reads a stream with direct gets: they need no consumer, which a stream limits, so any number of clients may read.

The stream announces each stored message (`republish` in topology) with its subject and sequence.
"""

import asyncio
import contextlib
import itertools
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from v2t_stream.broker.client import NatsClient
from v2t_stream.errors import BrokerError, Denied

PAGE: Final = 1024  # messages per request
_PAGE_BYTES: Final = 4 << 20  # bytes per request
_LOOK: Final = 1.0  # seconds between checks that the connection is still the same
_DOUBT: Final = 5.0  # seconds until silent patterns are read anyway: an older release's stream announces nothing
_DOUBTED: Final = 64  # such patterns read at a time
_LAG: Final = 0.01  # seconds, doubled each time, until a replica that lags behind an announcement is asked again
_TRIES: Final = 7  # times


def stored_subject(pattern: str) -> str:
    """The subject on which a stream announces a stored message: v2t.job.x becomes v2t.stored.job.x."""
    first, _, rest = pattern.partition(".")
    return f"{first}.stored.{rest}"


class Page(NamedTuple):
    """The result of one direct get."""

    messages: list[Msg]
    has_more: bool
    status: str  # 204: the end; 404: no message; 503: no such stream, or not yet


async def page(client: NatsClient, stream: str, pattern: str, after: int, patience: float, *, most: int = PAGE) -> Page:
    """The next messages on `pattern` after the sequence `after`, at most `most`, from any replica.

    Raises Denied, TimeoutError if nothing comes for `patience` seconds, and BrokerError if the server refuses.
    """
    inbox = client.new_inbox()
    answers: asyncio.Queue[Msg | Denied] = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=answers.put, pending_msgs_limit=0, pending_bytes_limit=0)
    subject = f"$JS.API.DIRECT.GET.{stream}"
    room = _PAGE_BYTES * most // PAGE
    request = {"seq": after + 1, "next_by_subj": pattern, "batch": most, "max_bytes": room}
    messages: list[Msg] = []
    client.expect(inbox, subject, answers.put_nowait)
    try:
        await client.publish(subject, json.dumps(request).encode(), reply=inbox)
        while True:
            if answers.empty():
                async with asyncio.timeout(patience):
                    message = await answers.get()
            else:  # no timer, which would cost as much as the message
                message = answers.get_nowait()
            if isinstance(message, Denied):
                raise message
            headers: dict[str, Any] = message.headers or {}
            match status_of(message):
                case "":
                    messages.append(message)
                case "204" | "404" | "503" as status:
                    return Page(messages, int(headers.get("Nats-Num-Pending", 0)) > 0, status)
                case status:
                    raise BrokerError(f"the NATS server refused to read {pattern}: {status} {headers['Description']}")
    finally:
        client.expect_no_more(inbox)
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()


def status_of(answer: Msg) -> str:
    """The server's status in place of a message; empty for a message, whatever headers its sender set."""
    headers = answer.headers or {}
    return "" if "Nats-Sequence" in headers else headers.get("Status", "")


class Bells:
    """Knows which of some patterns have new messages in their stream."""

    def __init__(self, client: NatsClient, patterns: Sequence[str]) -> None:
        self._client = client
        self._turns = deque(patterns)
        self._due: dict[str, int] = {}  # the latest sequence by pattern
        self._tries: Counter[str] = Counter()  # reads in vain
        self._rung = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._life = client.stats["reconnects"]

    async def __aenter__(self) -> Self:
        for pattern in self._turns:
            self._subscriptions.append(await self._listen(pattern))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _listen(self, pattern: str) -> Subscription:
        async def hear(message: Msg) -> None:
            self._due[pattern] = int((message.headers or {}).get("Nats-Sequence", 0))
            self._tries.pop(pattern, None)
            self._rung.set()

        return await self._client.subscribe(
            stored_subject(pattern), cb=hear, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def next(self, reached: Mapping[str, int]) -> list[str]:
        """Wait for patterns to read, and return them; `reached`: the sequence up to which each was read.

        Raises BrokerError if the connection was closed.
        """
        while not (behind := self._behind(reached)):
            self._rung.clear()
            if suspected := await self._wait():
                return suspected
        if tries := min(self._tries[pattern] for pattern in behind):
            await asyncio.sleep(_LAG * 2**tries)
        self._tries.update(behind)
        return behind

    def suspect(self) -> None:
        """Have all patterns read, announced or not."""
        self._life = -1

    def _behind(self, reached: Mapping[str, int]) -> list[str]:
        """The patterns that were announced and not read yet.

        A replica that lags behind is asked again, but only so often: the message may have been removed meanwhile.
        """
        for pattern, due in list(self._due.items()):
            if due <= reached[pattern] or self._tries[pattern] > _TRIES:
                del self._due[pattern], self._tries[pattern]
        return list(self._due)

    async def _wait(self) -> list[str]:
        """Wait for an announcement; returns patterns that may have new messages without one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _DOUBT
        while not self._rung.is_set():
            if self._client.is_closed:
                raise BrokerError("the connection to the NATS server is closed")
            if self._client.is_connected and self._client.stats["reconnects"] != self._life:
                self._life = self._client.stats["reconnects"]
                return list(self._turns)
            if loop.time() > until:
                self._turns.rotate(_DOUBTED)
                return list(itertools.islice(self._turns, _DOUBTED))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._rung.wait()
        return []
