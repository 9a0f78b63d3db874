"""Who hears of changed jobs. However slowly one reads, and however many there are, memory stays bounded."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from v2t_stream.broker.requests import Stored
from v2t_stream.serve.facts import event_of
from v2t_stream.serve.tail import Tail

_ALL: Final = ""  # the name for all jobs that are no entries


class Listener:
    """Which jobs have changed since it last looked. However slowly it reads, it holds each job once."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._is_new = asyncio.Event()

    def note(self, jobs: Iterable[str]) -> None:
        self._changed.update(dict.fromkeys(jobs))
        self._is_new.set()

    @property
    def has_news(self) -> bool:
        """Whether a job has changed since it last looked."""
        return self._is_new.is_set()

    async def changed(self) -> list[str]:
        """Wait for changes; returns the jobs that have changed."""
        await self._is_new.wait()
        self._is_new.clear()
        found, self._changed = self._changed, {}
        return list(found)


class Listeners:
    """All who listen to the jobs of a board."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)  # by the list, or _ALL
        self._tails: dict[str, Tail] = {}  # by job
        self.reached = 0  # the latest sequence of the stream that was heard

    def note(self, id_: str, top: str, stored: Stored) -> None:
        """Tell of a fact of the job `id_`, an entry of `top` or `top` itself."""
        self.reached = stored.sequence
        for listener in self._listeners.get(_ALL, ()):
            listener.note((top,))
        for listener in self._listeners.get(top, ()):
            listener.note((id_,))
        if tail := self._tails.get(id_):
            if event := event_of(stored):
                tail.put(event)
            else:
                tail.ring()

    def start_anew(self, changed: list[str], last: int) -> None:
        """Go on after the sequence `last` of the stream, which was read again."""
        self.reached = last
        for name, listeners in self._listeners.items():
            for listener in listeners:
                listener.note(changed if name == _ALL else (name,))
        for tail in self._tails.values():
            tail.reset(last)

    @contextlib.contextmanager
    def to_all(self, *, of: str = _ALL) -> Iterator[Listener]:
        """Hear of changed jobs while the block runs. `of`: only of this list and its entries."""
        listener = Listener()
        self._listeners[of].add(listener)
        try:
            yield listener
        finally:
            self._listeners[of].discard(listener)
            if not self._listeners[of]:
                del self._listeners[of]

    @contextlib.contextmanager
    def to_facts(self, job: str) -> Iterator[Tail]:
        """The latest facts of a job while the block runs; all who listen to it share them."""
        tail = self._tails.setdefault(job, Tail(self.reached))
        tail.listeners += 1
        try:
            yield tail
        finally:
            tail.listeners -= 1
            if not tail.listeners:
                del self._tails[job]
