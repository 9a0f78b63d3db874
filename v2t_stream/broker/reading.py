"""Reads streams without a consumer, which a stream limits, so any number of clients may read."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

import nats.errors

from v2t_stream.broker import direct_get
from v2t_stream.broker.direct_get import Bells
from v2t_stream.broker.requests import Stored
from v2t_stream.broker.same_store import SameStore
from v2t_stream.errors import BrokerError, Denied, StoreChanged

_PAGES: Final = 32  # pages read in parallel
_RECOVERS: Final = 0.2  # seconds until a server that is still recovering a stream is asked again


class Reader(SameStore):
    """Combines requests into whole histories, and follows them."""

    async def any_of(self, stream: str, subjects: list[str]) -> bool:
        """Whether at least one of `subjects` has a message, by the stream's leader."""
        if not await self.seems_any_of(stream, subjects):
            return False
        for subject in subjects:
            if await self.last(stream, subject):
                return True
        return False

    async def seems_any_of(self, stream: str, subjects: list[str]) -> bool:
        """The same from any replica: one request for all subjects, at most 1,024.

        A lagging replica that says no causes work to be done twice, which is harmless. One that says yes just after a
        retry removed the message would lose the work, so `any_of` then asks the leader.
        """
        return await self.direct(stream, multi_last=subjects, batch=1) is not None

    async def latest(self, stream: str, pattern: str) -> list[bytes]:
        """The latest message on each matching subject, in a stream that keeps one each. Raises BrokerError."""
        return [stored.data async for stored in self._read(stream, [pattern], {pattern: 0})]

    async def messages(self, stream: str) -> int:
        """The number of messages in `stream`."""
        count: int = (await self.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
        return count

    async def some(self, stream: str, pattern: str, after: int, most: int) -> tuple[list[Stored], bool]:
        """The next messages on `pattern` after the sequence `after`, and whether there are more.

        There are at most `most`, and fewer if they are large. Raises BrokerError.
        """
        page = await self._page(stream, pattern, after, most=most)
        return [Stored.of(message) for message in page.messages], page.has_more

    async def watch(
        self, stream: str, *patterns: str, live: bool = True, after: int = 0
    ) -> AsyncGenerator[Stored | None]:
        """The stream's messages on `patterns`: first the present ones, then None, then (if `live`) new ones.

        `after`: only messages with a higher sequence. On each pattern they come in the stream's order, without a gap or
        a duplicate, even if the server goes away meanwhile; a message replaced before it was read is left out. The
        server keeps no state for this, so any number of watches can run. Raises BrokerError if the server is away at
        the start, and StoreChanged like `hold_to`.
        """
        reached = dict.fromkeys(patterns, after)
        async for stored in self._read(stream, list(patterns), reached):
            yield stored
        if not live:
            yield None
            return
        async with Bells(self.client, patterns) as bells:
            async for stored in self._read(stream, list(patterns), reached):  # what came before the bells
                yield stored
            yield None
            while True:
                self.lineage.stored(stream, max(reached.values()))
                behind = await bells.next(reached)
                await self.check_history()
                try:
                    async for stored in self._read(stream, behind, reached):
                        yield stored
                except (Denied, StoreChanged):
                    raise
                except BrokerError:
                    if self.client.is_closed:
                        raise
                    await asyncio.sleep(_RECOVERS)
                    bells.suspect()

    async def _read(self, stream: str, patterns: list[str], reached: dict[str, int]) -> AsyncGenerator[Stored]:
        """The messages on `patterns` after the sequence that each has `reached`; updates `reached`."""
        waiting = deque(patterns)
        while waiting:
            asked = [waiting.popleft() for _ in range(min(_PAGES, len(waiting)))]
            pages = await asyncio.gather(*(self._page(stream, pattern, reached[pattern]) for pattern in asked))
            for pattern, page in zip(asked, pages, strict=True):
                for message in page.messages:
                    stored = Stored.of(message)
                    reached[pattern] = stored.sequence
                    yield stored
                if page.has_more:
                    waiting.append(pattern)

    async def _page(self, stream: str, pattern: str, after: int, *, most: int = direct_get.PAGE) -> direct_get.Page:
        async def ask(seconds: float) -> direct_get.Page:
            page = await direct_get.page(self.client, stream, pattern, after, seconds, most=most)
            if page.status == "503":
                await self._ask(f"STREAM.INFO.{stream}", None, seconds)  # raises if the stream does not exist
                await asyncio.sleep(_RECOVERS)
                raise nats.errors.TimeoutError
            return page

        with self._translated(f"DIRECT.GET.{stream}"):
            return await self.patiently(ask)
