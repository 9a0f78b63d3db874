"""Shows what jobs wait for, where the user waits for them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

from v2t_stream.broker.connection import Connection
from v2t_stream.cli.bars import Bars
from v2t_stream.errors import BrokerError, Denied
from v2t_stream.fleet.presence import ANNOUNCE_EVERY, FETCHING, fleet
from v2t_stream.host import tasks
from v2t_stream.jobs.progress import is_queued
from v2t_stream.monitoring.waiting import Wait, ahead, wait_of
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.stalls import unfinished
from v2t_stream.topology.queues import paused
from v2t_stream.units import counted

# Seconds before something missing is reported.
_STARTING: Final = 15.0  # stages of this command may just be starting
_ELSEWHERE: Final = 3.0  # a process elsewhere reports every second
_CERTAIN: Final = 1.0  # a job may be on its way past it
_COUNT_EVERY: Final = 5.0


def patience(pipeline: Session) -> float:
    """How long something that may just be starting may be missing."""
    return _STARTING if pipeline.local else _ELSEWHERE


@contextlib.asynccontextmanager
async def fleet_shown(
    connection: Connection, bars: Bars, patience: float, count_every: float = _COUNT_EVERY
) -> AsyncGenerator[None]:
    """While the block runs, show what the jobs in `bars` wait for, such as a model's download or a paused queue.

    `patience`: seconds before something missing is reported; see the function `patience`. `count_every`: seconds
    between counts of all jobs, of which there may be many.
    """
    looking = asyncio.create_task(_Lookout(connection, bars, patience, count_every).run())
    try:
        yield
    finally:
        await tasks.end(looking)


class _Lookout:
    def __init__(self, connection: Connection, bars: Bars, patience: float, count_every: float) -> None:
        self._connection = connection
        self._bars = bars
        self._patience = patience
        self._count_every = count_every
        self._since: dict[Wait, float] = {}
        self._said: set[Wait] = set()
        self._counted_at = time.monotonic()  # most jobs do not wait at all

    async def run(self) -> None:
        while True:
            with contextlib.suppress(BrokerError):
                nodes = await fleet(self._connection)
                self._bars.tell({info.node: info for info in nodes if info.state.startswith(FETCHING)})
                stopped = set[str]()
                with contextlib.suppress(Denied):  # some roles may not look at queues
                    stopped = await paused(self._connection)
                self._warn(Counter(filter(None, (wait_of(job, nodes, stopped) for job in self._bars.unfinished))))
                await self._count()
            await asyncio.sleep(ANNOUNCE_EVERY)

    def _warn(self, held: Counter[Wait]) -> None:
        now = time.monotonic()
        self._since = {wait: self._since.get(wait, now) for wait in held}
        due = {wait for wait in held if now - self._since[wait] >= (_CERTAIN if wait.is_certain else self._patience)}
        for wait in due - self._said:
            self._bars.warn(f"v2t: {counted(held[wait], 'job waits', 'jobs wait')}, because {wait.reason}")
        self._said = due

    async def _count(self) -> None:
        """Show how many jobs of others come first."""
        if time.monotonic() < self._counted_at + self._count_every:
            return
        self._counted_at = time.monotonic()
        queued = [job for job in self._bars.unfinished if is_queued(job)]
        ours = {job.id for job in self._bars.unfinished}
        others = [job for job in await unfinished(self._connection) if job not in ours] if queued else []
        self._bars.place({job.id: ahead(job.id, others) for job in queued})
