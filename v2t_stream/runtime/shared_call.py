"""One call for all callers that need its answer at the same time."""

import asyncio
from collections.abc import Awaitable, Callable


class SharedCall:
    """Callers during a running call share the next one, because the running one may have looked too early."""

    def __init__(self, call: Callable[[], Awaitable[None]]) -> None:
        self._call = call
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return when a call that began after this one has ended; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._current))
        await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait({before})
        self._current, self._next = self._next, None
        await self._call()
