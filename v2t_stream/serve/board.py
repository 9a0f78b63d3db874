"""All jobs and their states, without the words: a projection of the stream that every request reads."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Final

from aiohttp import web

from schemas.events import ChunkDone
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError
from v2t_stream.host import tasks
from v2t_stream.jobs.state import Job
from v2t_stream.serve.problems import Problem
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import any_run, but_chunks, job_of, results_of

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0  # seconds until a broken watch begins anew
_ANEW: Final = 6 * 3600.0  # seconds until all of it is read again, as nothing says which facts have expired
_PATIENCE: Final = 10.0  # seconds that a request waits for the history to be read


class Board:
    """Readers must not change what they get."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listeners: set[Listener] = set()
        self._is_ready = asyncio.Event()
        self.jobs: dict[str, Job] = {}

    async def run(self) -> None:
        """Follow the stream until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_ANEW):
                    await self._follow({})
            except* BrokerError as errors:
                log.warning("the list of jobs is read again: %s", errors.exceptions[0])
                await asyncio.sleep(_AGAIN)
            except* TimeoutError:
                pass

    async def _follow(self, jobs: dict[str, Job]) -> None:
        """Fill `jobs` with the history, show it, and keep it up to date."""
        last: int = (await self._connection.api(f"STREAM.INFO.{JOBS}"))["state"]["last_seq"]
        # Chunks from here on, so that none is missed that is stored while the history is read.
        chunks = self._connection.watch(JOBS, *any_run(ChunkDone, job="*", n="*"), after=last)
        others = self._connection.watch(JOBS, *but_chunks())
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(jobs, chunks))
            both.create_task(self._take(jobs, others, is_history=True))

    async def _take(
        self, jobs: dict[str, Job], facts: AsyncGenerator[Stored | None], *, is_history: bool = False
    ) -> None:
        async with contextlib.aclosing(facts):
            async for stored in facts:
                if stored:
                    self._apply(jobs, stored)
                elif is_history:
                    await self._take(jobs, self._connection.watch(JOBS, *_running(jobs), live=False))
                    self._show(jobs)

    def _apply(self, jobs: dict[str, Job], stored: Stored) -> None:
        id_, _ = place_of(job_of(stored.subject))
        jobs.setdefault(id_, Job(id_, words=False)).apply(stored)
        for listener in self._listeners if jobs is self.jobs else ():
            listener.note(id_)

    def _show(self, jobs: dict[str, Job]) -> None:
        self.jobs = jobs
        self._is_ready.set()
        for listener in self._listeners:
            for id_ in jobs:
                listener.note(id_)

    def find(self, id_: str) -> Job | None:
        """A job, or the entry of a list; None if it is not there (yet)."""
        parent, place = place_of(id_)
        job = self.jobs.get(parent)
        return job.children.get(place) if job and place else job

    async def ready(self) -> None:
        """Wait until the history is read. Raises Problem if that takes long."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._is_ready.wait()
        except TimeoutError:
            raise Problem(503, "the broker does not answer: try again", **{"Retry-After": "5"}) from None

    @contextlib.contextmanager
    def listening(self) -> "Iterator[Listener]":
        """Hear of changed jobs while the block runs."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)


class Listener:
    """Which jobs have changed since it last looked. However slowly it reads, it holds each job once."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._is_new = asyncio.Event()

    def note(self, job: str) -> None:
        self._changed[job] = None
        self._is_new.set()

    async def changed(self) -> list[str]:
        """Wait for changes; returns the jobs that have changed."""
        await self._is_new.wait()
        self._is_new.clear()
        found, self._changed = self._changed, {}
        return list(found)


def _running(jobs: dict[str, Job]) -> list[str]:
    """Patterns of the results of running jobs: results are most of the history, and others need none of them."""
    parts = [part for job in jobs.values() for part in job.parts]
    return [results_of(part.id) for part in parts if part.downloaded and not part.ended]


BOARD: Final = web.AppKey("board", Board)


async def kept(app: web.Application) -> AsyncIterator[None]:
    """Keep the board of an application up to date while it runs."""
    running = asyncio.create_task(app[BOARD].run())
    yield
    await tasks.end(running)
