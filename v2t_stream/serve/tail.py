"""The latest facts of one job, as events that are encoded once for all who listen."""

import asyncio
from collections import deque
from typing import Final, NamedTuple

_FACTS: Final = 256
_BYTES: Final = 1 << 20


class Event(NamedTuple):
    """A fact as the client reads it."""

    sequence: int
    text: bytes


class Tail:
    """Every fact after the sequence `floor`, in order. What does not fit any more is in the stream: the floor rises."""

    def __init__(self, floor: int) -> None:
        self._recent: deque[Event] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.floor = floor
        self.listeners = 0

    def put(self, event: Event) -> None:
        """Add the next one."""
        self._recent.append(event)
        self._bytes += len(event.text)
        while len(self._recent) > _FACTS or self._bytes > _BYTES:
            oldest = self._recent.popleft()
            self._bytes -= len(oldest.text)
            self.floor = oldest.sequence
        self.ring()

    def reset(self, floor: int) -> None:
        """Forget all, as the stream was read anew up to `floor`."""
        self._recent.clear()
        self._bytes, self.floor = 0, floor
        self.ring()

    def ring(self) -> None:
        """Wake whoever listens."""
        self._changed.set()
        self._changed = asyncio.Event()

    def bell(self) -> asyncio.Event:
        """Rings at the next change. Take it before you look, so that you miss none."""
        return self._changed

    def after(self, sequence: int) -> list[Event] | None:
        """The facts after a sequence; None if some of them are only in the stream."""
        if sequence < self.floor:
            return None
        return [event for event in self._recent if event.sequence > sequence]
