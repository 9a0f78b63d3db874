"""A value that many requests share for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Makes a value when somebody asks for it, at most once in `seconds`; who asks meanwhile gets the same."""

    def __init__(self, make: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._making: asyncio.Task[T] | None = None
        self._made_at = float("-inf")

    async def get(self) -> T:
        """Raises what making it raises; then the next call tries again."""
        if self._making is None or (self._making.done() and self._is_stale(self._making)):
            self._making = asyncio.ensure_future(self._made())
        return await asyncio.shield(self._making)  # a request that ends early takes it from nobody

    async def _made(self) -> T:
        value = await self._make()
        self._made_at = time.monotonic()
        return value

    def _is_stale(self, made: "asyncio.Task[T]") -> bool:
        failed = made.cancelled() or made.exception() is not None
        return failed or time.monotonic() - self._made_at > self._seconds
