"""Reading a stream by direct gets: no consumer is made, of which a stream has only so many, so any number may read.

What is stored is heard of by the stream's own word (`republish` in topology), which says the subject and the sequence.
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

_PAGE: Final = 1024  # messages asked for together
_PAGE_BYTES: Final = 4 << 20  # the same in bytes
_LOOK: Final = 1.0  # seconds until one who waits looks whether the connection is still the same
_DOUBT: Final = 5.0  # seconds until what said nothing is read all the same: an older release's stream does not tell
_DOUBTED: Final = 64  # patterns that are read so at a time
_LAG: Final = 0.01  # seconds, doubled each time, until a replica that has not yet stored what was told is asked again
_TRIES: Final = 7  # times


def stored_subject(pattern: str) -> str:
    """On which a stream says that it has stored a message: v2t.job.x becomes v2t.stored.job.x."""
    first, _, rest = pattern.partition(".")
    return f"{first}.stored.{rest}"


class Page(NamedTuple):
    """What one direct get gave."""

    messages: list[Msg]
    has_more: bool
    status: str  # 204: the end; 404: there is nothing; 503: there is no such stream, or not yet


async def page(client: NatsClient, stream: str, pattern: str, after: int, patience: float) -> Page:
    """The next messages on `pattern` behind the sequence `after`, as any replica has them.

    Raises Denied, TimeoutError where nothing comes for `patience` seconds, and BrokerError where the server refuses.
    """
    inbox = client.new_inbox()
    answers: asyncio.Queue[Msg | Denied] = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=answers.put, pending_msgs_limit=0, pending_bytes_limit=0)
    subject = f"$JS.API.DIRECT.GET.{stream}"
    request = {"seq": after + 1, "next_by_subj": pattern, "batch": _PAGE, "max_bytes": _PAGE_BYTES}
    messages: list[Msg] = []
    client.expect(inbox, subject, answers.put_nowait)
    try:
        await client.publish(subject, json.dumps(request).encode(), reply=inbox)
        while True:
            if answers.empty():
                async with asyncio.timeout(patience):
                    message = await answers.get()
            else:  # without a timer, which would cost as much as the message
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
    """What the server says in place of a message; empty where it is one, whatever headers its sender gave it."""
    headers = answer.headers or {}
    return "" if "Nats-Sequence" in headers else headers.get("Status", "")


class Bells:
    """Tells which of some patterns have something new in their stream."""

    def __init__(self, client: NatsClient, patterns: Sequence[str]) -> None:
        self._client = client
        self._turns = deque(patterns)
        self._due: dict[str, int] = {}  # the latest sequence by pattern
        self._tries: Counter[str] = Counter()  # how often it was read in vain
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
        """The patterns to read, once there are some; `reached`: the sequence up to which each was read.

        Raises BrokerError where the connection was closed.
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
        """Have all patterns read, whether or not something is told."""
        self._life = -1

    def _behind(self, reached: Mapping[str, int]) -> list[str]:
        """Those that were told of and not read so far.

        A replica that lags behind is asked again. Of what was withdrawn meanwhile nothing comes however often.
        """
        for pattern, told in list(self._due.items()):
            if told <= reached[pattern] or self._tries[pattern] > _TRIES:
                del self._due[pattern], self._tries[pattern]
        return list(self._due)

    async def _wait(self) -> list[str]:
        """Wait until one is told of; those that may have something new all the same."""
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
