"""What `GET /v1/jobs/ID` tells, made once for however many clients ask."""

import itertools
import time
from bisect import bisect_left
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from v2t_stream.errors import ObjectMissing, StoreError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.assembly import assemble, stored
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.progress import is_queued, shortfalls
from v2t_stream.jobs.state import Job, fold
from v2t_stream.monitoring.waiting import order
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.status import Around, facts_of, paused_queues, stalled
from v2t_stream.serve.board import Board
from v2t_stream.serve.fresh import Fresh, Kept
from v2t_stream.topology.subjects import facts_of as facts_of_job

_AROUND: Final = 1.0  # seconds that a look at the fleet serves; nodes report every second
_STALLED: Final = 5.0  # the same for a search for what holds up jobs
_QUIET: Final = 30.0  # seconds without a fact until a job may be stalled
_SEARCHED: Final = 500  # jobs that such a search is about
_KEPT: Final = 1000  # jobs whose look is kept


class Looks:
    """Looks at jobs. Running jobs are looked at on the board; those that have ended once, until they change."""

    def __init__(self, pipeline: Session, board: Board) -> None:
        self._pipeline = pipeline
        self._board = board
        connection = pipeline.connection
        self._nodes = Fresh(lambda: fleet(connection), _AROUND)
        self._paused = Fresh(lambda: paused_queues(connection), _AROUND)
        self._queue = Fresh(self._unfinished, _AROUND)
        self._stalls = Fresh(lambda: stalled(connection, self._quiet()), _STALLED)
        self._running: Kept[bytes] = Kept(_KEPT)
        self._ended: Kept[Fresh[bytes]] = Kept(_KEPT)

    async def nodes(self) -> list[NodeInfo]:
        """The fleet, as it was a moment ago. Raises BrokerError."""
        return await self._nodes.get()

    async def at(self, job: Job) -> bytes:
        """All that can be said of a job, as `v2t job status --json` says it. Raises BrokerError."""
        version = (self._board.readings, job.changes)
        if job.ended and not job.listed:
            look = self._ended.get(job.id, version, lambda: Fresh(partial(self._at_ended, job.id), float("inf")))
            return await look.get()
        around = await self._around(job)
        return self._running.get(job.id, (version, int(time.monotonic() / _AROUND)), partial(_look, job, around))

    async def _at_ended(self, id_: str) -> bytes:
        # With its words, which the board leaves out. It is no list, so there is no need to look for entries.
        job = fold(id_, await history(self._pipeline.connection, [facts_of_job(id_)]))
        told, record = shortfalls(job), None
        if job.transcript:
            try:
                record = await stored(self._pipeline.store, job.transcript)
            except ObjectMissing:
                pass  # it has expired
            except StoreError:
                self._ended.drop(id_)  # it may be there the next time
            else:
                told = caveats(record)
        return msgspec.json.encode(facts_of(job, record or assemble(job, who=False), told, Around()))

    async def _around(self, job: Job) -> Around:
        if job.ended:
            return Around()
        nodes, paused = await self._nodes.get(), await self._paused.get()
        ahead = _before(job.id, await self._queue.get()) if is_queued(job) else 0
        stalls = self._stalls.latest({})
        stall = next((stalls[part.id] for part in job.parts if part.id in stalls), "") if stalls else ""
        return Around(nodes, paused, ahead or None, stall)

    async def _unfinished(self) -> list[tuple[str, tuple[int, str]]]:
        """The unfinished jobs in the order of their submission."""
        return sorted(order(job.id) for job in self._board.jobs.values() if not job.ended)

    def _quiet(self) -> list[str]:
        """Jobs that have not just gone on, and so may be unable to."""
        since = time.time() - _QUIET
        running = (part for job in self._board.jobs.values() if not job.ended for part in job.parts if not part.ended)
        quiet = (part.id for part in running if max(part.times.values(), default=0.0) < since)
        return list(itertools.islice(quiet, _SEARCHED))


def _before(job: str, queue: list[tuple[str, tuple[int, str]]]) -> int:
    """How many in the queue come first, as `waiting.ahead` counts."""
    epoch, at = order(job)
    return bisect_left(queue, (epoch, at)) - bisect_left(queue, (epoch, (0, "")))


def _look(job: Job, around: Around) -> bytes:
    record = assemble(job, who=False)
    told: list[Any] = caveats(record, finished=False) if not job.ended else shortfalls(job)
    return msgspec.json.encode(facts_of(job, record, told, around))


LOOKS: Final = web.AppKey("looks", Looks)
