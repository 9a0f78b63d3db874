"""Repairs what cannot go on by itself, or fails it with a reason: jobs whose messages are lost, and streams.

Every aggregate stage does this. Whatever it sends is fenced by what it saw: if many see the same thing, one of them
acts, and an outdated view changes nothing.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from schemas.events import Failed
from schemas.message import Message
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, SettingsError, StoreError
from v2t_stream.jobs.state import Job
from v2t_stream.runtime.set_up import drifted, set_up, store_drifted
from v2t_stream.runtime.stalls import Stall, resting, stalls, trigger_of, unfinished
from v2t_stream.runtime.stores import open_store
from v2t_stream.settings import Settings
from v2t_stream.topology.applied import layout_in_use
from v2t_stream.topology.streams import LAYOUT

log = logging.getLogger(__name__)

_OLDEST: Final = 30.0  # seconds between two looks at most
_TIMES: Final = 3  # a job is helped; if it still lacks something, the cause is one that we cannot see


class Pace(NamedTuple):
    """How often recovery looks, and how long it lets things be. Seconds, unless noted. Tests use shorter times."""

    look_every: float = 5.0
    share: float = 0.02  # of the time may go into looking, which takes longer the more jobs there are
    jobs: int = 200  # in one look; if more are unfinished and not just waiting, they take turns
    streams_every: float = 15.0  # between two checks that all streams and buckets exist
    lacking: float = 15.0  # a job may lack something, which may be on its way between stages
    late: float = 5.0  # a message may be late when it is due again


DEFAULT: Final = Pace()


class _Watched(NamedTuple):
    """What a job lacks, and since when."""

    stall: Stall
    since: float  # by the monotonic clock
    pace: Pace
    # For a stall in doubt: what its stage had received when its own message was due, or one of the values below.
    served: int = 0

    def next(self, stall: Stall, now: float) -> "_Watched":
        """The same after the next look, which finds `stall`."""
        lasting = stall._replace(chunks=self.stall.chunks & stall.chunks)
        if not stall.is_as(self.stall) or (stall.lack == "chunks" and not lasting.chunks):
            return _Watched(stall, now, self.pace)
        return _Watched(lasting, self.since, self.pace, self._served(stall, now))

    def _served(self, stall: Stall, now: float) -> int:
        if self.served < 0:
            return _LOST
        if not stall.doubt or now - self.since < stall.doubt.within + self.pace.late:
            return 0
        queue = stall.doubt.queue
        has_passed = queue.is_idle or 0 < self.served < queue.delivered
        return _PASSED if has_passed else queue.delivered

    def is_lost(self, now: float) -> bool:
        """Whether it can no longer be on its way."""
        return self.served == _LOST if self.stall.doubt else now - self.since >= self.pace.lacking


_PASSED: Final = -1  # others were served before it: lost, unless a node has just taken it, as the next look shows
_LOST: Final = -2  # and no node has taken it


class Recovery:
    """Looks at unfinished jobs periodically. It remembers only how long they have been in their current state."""

    def __init__(self, connection: Connection, pace: Pace = DEFAULT) -> None:
        self._connection = connection
        self._pace = pace
        self._watched: dict[str, _Watched] = {}  # by job
        self._helped: dict[str, int] = {}
        self._last = ""  # the last job that was looked at

    async def look(self) -> None:
        """Look once, and act on it. Raises BrokerError."""
        jobs = await unfinished(self._connection)
        for gone in self._helped.keys() - set(jobs):
            del self._helped[gone]
        if len(jobs) > self._pace.jobs:
            jobs = await resting(self._connection, jobs)
        found = await stalls(self._connection, self._turn(jobs))
        now = time.monotonic()
        before, self._watched = self._watched, {}
        for id_, (job, stall) in found.items():
            watched = before[id_].next(stall, now) if id_ in before else _Watched(stall, now, self._pace)
            if watched.is_lost(now):
                await self._help(job, watched.stall)
            else:
                self._watched[id_] = watched

    def _turn(self, jobs: list[str]) -> list[str]:
        """The jobs whose turn it is, and those being watched."""
        behind = [job for job in jobs if job > self._last]
        turn = (behind + jobs)[: min(self._pace.jobs, len(jobs))]
        self._last = turn[-1] if len(jobs) > self._pace.jobs else ""
        return list({*turn, *(self._watched.keys() & set(jobs))})

    async def _help(self, job: Job, stall: Stall) -> None:
        self._helped[job.id] = self._helped.get(job.id, 0) + 1
        again = _again(job, stall)
        if again is None or self._helped[job.id] > _TIMES:
            await self._end(job, stall)
        elif await self._connection.publish(again, replaces=job.sequences[again.subject]):
            log.warning("job %s could not go on by itself, %s: sending %s again", job.id, stall.reason, again.subject)

    async def _end(self, job: Job, stall: Stall) -> None:
        what = "retry it again" if job.submitted else "submit it again"
        stage = stall.lack if stall.lack in ("download", "convert", "aggregate") else "transcribe"
        failed = Failed(
            job=job.id, run=job.run, stage=stage, reason=f"the job could not go on, because {stall.reason}: {what}"
        )
        if await self._connection.publish(failed):
            log.error("given up: job %s: %s", job.id, failed.reason)


def _again(job: Job, stall: Stall) -> Message | None:
    """The fact that starts the stage whose work is missing."""
    match stall.lack:
        # Convert cuts at the same places again and skips chunks that have a result.
        case "download" | "convert" | "chunks":
            return trigger_of(job)
        case "aggregate":
            return job.converted
    return None


async def recover(connection: Connection, settings: Settings, pace: Pace = DEFAULT) -> None:
    """Repair jobs and streams until cancelled."""
    await asyncio.gather(
        _again_and_again(Recovery(connection, pace).look, pace.look_every, pace.share),
        _again_and_again(lambda: _set_up_what_is_gone(connection, settings), pace.streams_every, pace.share),
    )


async def _again_and_again(look: Callable[[], Awaitable[None]], every: float, share: float) -> None:
    """`every`: seconds, at least. `share`: of the time, at most."""
    told = ""
    while True:
        begun = time.monotonic()
        try:
            await look()
            told = ""
        except (BrokerError, SettingsError, StoreError) as error:  # it is away, or we may not repair it
            if str(error) != told:
                log.warning("jobs that cannot go on by themselves are not being repaired: %s", error)
            told = str(error)
        took = time.monotonic() - begun
        # The nodes must not all look at the same moment.
        await asyncio.sleep(min(max(every, took / share), _OLDEST) * random.uniform(0.8, 1.2))  # noqa: S311  # no secret


async def _set_up_what_is_gone(connection: Connection, settings: Settings) -> None:
    """Recreate streams, consumers and buckets that somebody removed. Raises BrokerError, StoreError."""
    store = open_store(connection, settings)
    gone = [
        one for one in (*await drifted(connection, settings), *await store_drifted(store, settings)) if not one.field
    ]
    if gone and await layout_in_use(connection) <= LAYOUT:  # a newer release may not need it
        log.warning("somebody removed it, so it is set up again: %s", "; ".join(map(str, gone)))
        await set_up(connection, settings)
