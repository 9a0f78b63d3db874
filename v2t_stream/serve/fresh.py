"""Values that many requests share."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Makes a value when somebody asks for it, at most once in `seconds`; who asks meanwhile gets the same."""

    def __init__(self, make: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._making: asyncio.Task[T] | None = None
        self._value: T | None = None
        self._made_at = float("-inf")

    async def get(self) -> T:
        """Raises what making it raises; then the next call tries again."""
        return await asyncio.shield(self._due())  # a request that ends early takes it from nobody

    def latest(self, default: T) -> T:
        """The same without waiting: the value before it while it is made, and `default` until there is one."""
        self._due()
        return default if self._value is None else self._value

    def _due(self) -> "asyncio.Task[T]":
        if self._making is None or (self._making.done() and self._is_stale(self._making)):
            self._making = asyncio.ensure_future(self._made())
        return self._making

    async def _made(self) -> T:
        self._value = await self._make()
        self._made_at = time.monotonic()
        return self._value

    def _is_stale(self, made: "asyncio.Task[T]") -> bool:
        failed = made.cancelled() or made.exception() is not None
        return failed or time.monotonic() - self._made_at > self._seconds


class Kept(Generic[T]):
    """The values of the latest names that somebody asked for, each until its version changes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, tuple[Hashable, T]] = OrderedDict()

    def get(self, name: str, version: Hashable, make: Callable[[], T]) -> T:
        held = self._values.get(name)
        if held is None or held[0] != version:
            held = self._values[name] = version, make()
        self._values.move_to_end(name)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return held[1]

    def drop(self, name: str) -> None:
        self._values.pop(name, None)
