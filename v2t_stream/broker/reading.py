"""Reading streams without a consumer, of which a stream has only so many: any number of people may read."""

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

_PAGES: Final = 32  # pages of a stream that are read side by side
_RECOVERS: Final = 0.2  # seconds until a server that has not recovered a stream yet is asked again


class Reader(SameStore):
    """What requests are put together to: whole histories, and what comes after them."""

    async def any_of(self, stream: str, subjects: list[str]) -> bool:
        """Whether a message stands on at least one of `subjects`, as the stream's leader has it."""
        if not await self.seems_any_of(stream, subjects):
            return False
        for subject in subjects:
            if await self.last(stream, subject):
                return True
        return False

    async def seems_any_of(self, stream: str, subjects: list[str]) -> bool:
        """The same by whichever replica answers: one request, whatever the number of subjects, at most 1,024.

        Of one that lags behind, "none" makes for work done twice, which is harmless; "there is", where a retry has
        just removed it, would lose the work, which is why `any_of` asks the leader about it.
        """
        return await self.direct(stream, multi_last=subjects, batch=1) is not None

    async def latest(self, stream: str, pattern: str) -> list[bytes]:
        """The latest message on each subject that matches, in a stream that keeps one of each. Raises BrokerError."""
        return [stored.data async for stored in self._read(stream, [pattern], {pattern: 0})]

    async def messages(self, stream: str) -> int:
        """How many messages `stream` holds."""
        count: int = (await self.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
        return count

    async def watch(
        self, stream: str, *patterns: str, live: bool = True, after: int = 0
    ) -> AsyncGenerator[Stored | None]:
        """The stream's messages on `patterns`: first what stands there, then None, then (if `live`) what comes.

        `after`: only what has a higher sequence. On each pattern they come in the stream's order, without a gap or a
        double, also where the server goes away meanwhile; what is replaced before it was read is left out. The server
        makes nothing for that, so there can be as many watches as one likes. Raises BrokerError where it is away at the
        start, and StoreChanged as `hold_to` says.
        """
        reached = dict.fromkeys(patterns, after)
        async for stored in self._read(stream, list(patterns), reached):
            yield stored
        if not live:
            yield None
            return
        async with Bells(self.client, patterns) as bells:
            async for stored in self._read(stream, list(patterns), reached):  # what came before it could be heard of
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
        """What stands on `patterns` behind the sequence that each has `reached`, which this moves on."""
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

    async def _page(self, stream: str, pattern: str, after: int) -> direct_get.Page:
        async def ask(seconds: float) -> direct_get.Page:
            page = await direct_get.page(self.client, stream, pattern, after, seconds)
            if page.status == "503":
                await self._ask(f"STREAM.INFO.{stream}", None, seconds)  # raises where there is no such stream
                await asyncio.sleep(_RECOVERS)
                raise nats.errors.TimeoutError
            return page

        with self._translated(f"DIRECT.GET.{stream}"):
            return await self.patiently(ask)
