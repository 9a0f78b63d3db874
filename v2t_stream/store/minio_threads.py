"""The threads in which the calls of MinIO's SDK, which block, are made."""

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
        """Do it off the loop. Where we are cancelled it is stopped, and waited for: nothing of it comes later.

        Raises StoreAway without a try where the store was found away while this waited for a thread: else of many
        calls each waits for all those before it to lose patience.
        """
        stopped = threading.Event()
        asked = time.monotonic()

        def do() -> T:
            if self._away and asked < self._away_at:
                raise self._away
            return work(stopped)

        running = self._pool.submit(do)
        result = asyncio.wrap_future(running)
        result.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else may look
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            stopped.set()
            if not running.cancel():
                await asyncio.wait({result})
            raise

    def note(self, away: StoreAway) -> None:
        """Take note that a call has found the store away."""
        if away is not self._away:
            self._away, self._away_at = away, time.monotonic()
