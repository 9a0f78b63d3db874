"""What `GET /v1/jobs/ID` tells, made once for however many clients ask."""

import time
from collections import OrderedDict
from typing import Any, Final

from aiohttp import web

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, StoreError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.assembly import assemble, stored
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.progress import is_queued, shortfalls
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import ahead
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.status import Around, facts_of, stall
from v2t_stream.serve.board import Board
from v2t_stream.serve.fresh import Fresh
from v2t_stream.topology.queues import paused

_AROUND: Final = 1.0  # seconds that a look at the fleet serves; nodes report every second
_STALLED: Final = 5.0  # the same for a search for what holds up a job
_QUIET: Final = 30.0  # seconds without a fact until a job may be stalled
_KEPT: Final = 1000  # ended jobs whose look is kept


class Looks:
    """Looks at jobs. Running jobs are looked at on the board; those that have ended once, until they change."""

    def __init__(self, pipeline: Session, board: Board) -> None:
        self._pipeline = pipeline
        self._board = board
        self._nodes = Fresh(lambda: fleet(pipeline.connection), _AROUND)
        self._paused = Fresh(lambda: _paused(pipeline.connection), _AROUND)
        self._stalls: OrderedDict[str, Fresh[str]] = OrderedDict()
        self._ended: OrderedDict[str, tuple[int, Fresh[dict[str, Any]]]] = OrderedDict()

    async def nodes(self) -> list[NodeInfo]:
        return await self._nodes.get()

    async def at(self, job: Job) -> dict[str, Any]:
        """All that can be said of a job of the board, as `v2t job status --json` says it."""
        if not job.ended:
            record = assemble(job, who=False)
            return facts_of(job, record, caveats(record, finished=False), await self._around(job))
        version = max((sequence for part in (job, *job.parts) for sequence in part.sequences.values()), default=0)
        known, look = self._ended.get(job.id, (-1, None))
        if look is None or known != version:
            look = Fresh(lambda: self._at_ended(job.id), float("inf"))
            self._ended[job.id] = version, look
        _touch(self._ended, job.id)
        return await look.get()

    async def _at_ended(self, id_: str) -> dict[str, Any]:
        job = await read(self._pipeline.connection, id_)  # with its words, which the board leaves out
        told, record = shortfalls(job), None
        if job.transcript:
            try:
                record = await stored(self._pipeline.store, job.transcript)
            except StoreError:  # it has expired, or the store cannot be reached
                pass
            else:
                told = caveats(record)
        return facts_of(job, record or assemble(job, who=False), told, Around())

    async def _around(self, job: Job) -> Around:
        others = [each for each in self._board.jobs.values() if not each.ended] if is_queued(job) else []
        return Around(
            await self._nodes.get(),
            await self._paused.get(),
            (ahead(job.id, [each.id for each in others]) or None) if others else None,
            await self._stall(job),
        )

    async def _stall(self, job: Job) -> str:
        """Why it cannot go on by itself; a job that has just gone on can."""
        if time.time() - max(job.times.values(), default=0.0) < _QUIET:
            return ""
        if job.id not in self._stalls:
            self._stalls[job.id] = Fresh(lambda: stall(self._pipeline.connection, job), _STALLED)
        _touch(self._stalls, job.id)
        return await self._stalls[job.id].get()


def _touch(kept: OrderedDict[str, Any], id_: str) -> None:
    kept.move_to_end(id_)
    if len(kept) > _KEPT:
        kept.popitem(last=False)


async def _paused(connection: Connection) -> set[str]:
    try:
        return await paused(connection)
    except Denied:
        return set()


LOOKS: Final = web.AppKey("looks", Looks)
