"""The threads for the blocking calls of MinIO's SDK."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from v2t_stream.errors import StoreAway

COUNT: Final = 16  # calls under way at once in one process

T = TypeVar("T")


class Threads:
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(COUNT, thread_name_prefix="minio")
        self._away: StoreAway | None = None
        self._away_at = 0.0  # by the monotonic clock

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """Run it off the loop. If cancelled, this stops the call and waits for it, so it has no effect later.

        Raises StoreAway without a try if another call found the store away while this one waited for a thread;
        otherwise each of many calls would wait until all before it had timed out.
        """
        stopped = threading.Event()
        asked = time.monotonic()

        def do() -> T:
            if self._away and asked < self._away_at:
                raise self._away
            return work(stopped)

        running = self._pool.submit(do)
        result = asyncio.wrap_future(running)
        result.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else may read it
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            stopped.set()
            if not running.cancel():
                await asyncio.wait({result})
            raise

    def note(self, away: StoreAway) -> None:
        """Record that a call found the store away."""
        if away is not self._away:
            self._away, self._away_at = away, time.monotonic()
