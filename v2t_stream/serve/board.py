"""All jobs and their states, without the words: a projection of the stream that every request reads."""

import asyncio
import contextlib
import gc
import logging
import time
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from aiohttp import web

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError
from v2t_stream.host import tasks
from v2t_stream.jobs.state import Job
from v2t_stream.serve.listening import Listeners
from v2t_stream.serve.problems import Problem
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import ALL_FACTS, but_chunks, job_of, results_of

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0  # seconds until a broken watch begins anew
_PATIENCE: Final = 10.0  # seconds that a request waits for the history to be read
_REACHES: Final = 2.0  # seconds
_EXPIRY: Final = 3600.0  # seconds between two looks for jobs whose facts have expired, which the stream does not say
_NS: Final = 1_000_000_000


class Board:
    """Readers must not change what they get."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_ready = asyncio.Event()
        self._order: list[tuple[float, str]] = []  # of their beginning, by the server's clock
        self._places: dict[str, tuple[float, str]] = {}
        self.jobs: dict[str, Job] = {}
        self.listeners = Listeners()
        self.readings = 0  # how many times the history was read

    async def run(self) -> None:
        """Follow the stream until cancelled."""
        while True:
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._follow())
                    both.create_task(self._expire())
            except* BrokerError as errors:
                log.warning("the list of jobs is read again: %s", errors.exceptions[0])
            except* Exception:
                log.exception("the list of jobs is read again")
            await asyncio.sleep(_AGAIN)

    async def _follow(self) -> None:
        """Read the history, show it, and keep it up to date."""
        jobs: dict[str, Job] = {}
        last: int = (await self._info())["state"]["last_seq"]
        await self._read(jobs, *but_chunks())
        await self._read(jobs, *_running(jobs))
        self._show(jobs, last)
        facts = self._connection.watch(JOBS, ALL_FACTS, after=last)  # one pattern, so they come in order
        async with contextlib.aclosing(facts):
            async for stored in facts:
                if stored:
                    await self._hear(stored)

    async def _read(self, jobs: dict[str, Job], *patterns: str) -> None:
        facts = self._connection.watch(JOBS, *patterns, live=False)
        async with contextlib.aclosing(facts):
            async for stored in facts:
                if stored:
                    top, _ = place_of(job_of(stored.subject))
                    jobs.setdefault(top, Job(top, words=False)).apply(stored)

    async def _hear(self, stored: Stored) -> None:
        id_ = job_of(stored.subject)
        top, _ = place_of(id_)
        if top not in self.jobs:
            self.jobs[top] = Job(top, words=False)
            self._places[top] = stored.at, top
            insort(self._order, self._places[top])
        before = self.find(id_)
        had_ended = before is not None and before.ended
        self.jobs[top].apply(stored)
        job = self.find(id_)
        if job and job.ended:
            job.forget_chunks()
        elif had_ended:  # a retry, which may keep what was forgotten
            await self._read(self.jobs, results_of(id_))
        self.listeners.note(id_, top, stored)

    def _show(self, jobs: dict[str, Job], last: int) -> None:
        before, self.jobs = self.jobs, jobs
        self._places = {id_: (_beginning(job), id_) for id_, job in jobs.items()}
        self._order = sorted(self._places.values())
        self.readings += 1
        self._is_ready.set()
        gc.collect()
        gc.freeze()  # what is known stays: a look through all of it for garbage would hold up requests
        changed = [id_ for id_ in {**before, **jobs} if _newest(before.get(id_)) != _newest(jobs.get(id_))]
        self.listeners.start_anew(changed, last)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY)
            if age := (await self._info())["config"].get("max_age"):
                self.drop_older(time.time() - age / _NS)

    def drop_older(self, at: float) -> None:
        """Forget the jobs of which no fact is younger than `at`, in Unix seconds."""
        for id_ in [id_ for id_, job in self.jobs.items() if _newest(job) < at]:
            del self.jobs[id_]
            self._order.remove(self._places.pop(id_))

    async def _info(self) -> dict[str, Any]:
        return await self._connection.api(f"STREAM.INFO.{JOBS}")

    def find(self, id_: str) -> Job | None:
        """A job, or the entry of a list; None if it is not there (yet)."""
        parent, place = place_of(id_)
        job = self.jobs.get(parent)
        return job.children.get(place) if job and place else job

    async def reach(self, job: Job) -> None:
        """Wait until the board knows as much of a job as the stream had when it was read; not for long."""
        newest = max(job.sequences.values(), default=0)
        with contextlib.suppress(TimeoutError), self.listeners.to_facts(job.id) as tail:
            async with asyncio.timeout(_REACHES):
                while not (known := self.find(job.id)) or max(known.sequences.values(), default=0) < newest:
                    await tail.bell().wait()

    def newest_first(self, after: str = "") -> Iterator[Job]:
        """All jobs except those that were removed. `after`: those that follow this one. Raises KeyError for that."""
        end = bisect_left(self._order, self._places[after]) if after else len(self._order)
        known = (self.jobs.get(id_) for _, id_ in reversed(self._order[:end]))
        return (job for job in known if job and not job.removed)

    async def ready(self) -> None:
        """Wait until the history is read. Raises Problem if that takes long."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._is_ready.wait()
        except TimeoutError:
            raise Problem(503, "the broker does not answer: try again", **{"Retry-After": "5"}) from None


def _running(jobs: dict[str, Job]) -> list[str]:
    """Patterns of the results of running jobs: results are most of the history, and others need none of them."""
    parts = [part for job in jobs.values() for part in job.parts]
    return [results_of(part.id) for part in parts if part.downloaded and not part.ended]


def _beginning(job: Job) -> float:
    return job.started_at or min(_times(job), default=0.0)


def _newest(job: Job | None) -> float:
    """When its latest fact was stored, in Unix seconds."""
    return max(_times(job), default=0.0) if job else 0.0


def _times(job: Job) -> Iterator[float]:
    for each in (job, *job.children.values()):
        yield from each.times.values()


BOARD: Final = web.AppKey("board", Board)


async def kept(app: web.Application) -> AsyncIterator[None]:
    """Keep the board of an application up to date while it runs."""
    running = asyncio.create_task(app[BOARD].run())
    yield
    await tasks.end(running)
