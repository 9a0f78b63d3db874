"""All that can be said of a job, for `v2t job status` and the HTTP API."""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, StoreError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.assembly import assemble, stored
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.progress import is_queued, shortfalls
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import spoke, summary
from v2t_stream.monitoring.waiting import ahead, warning
from v2t_stream.runtime.stalls import ADVICE, confirmed, unfinished
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.queues import paused

OF_RECORD: Final = ("gaps", "unheard", "doubtful", "truncated", "sound")  # parts of a transcript's record


class Around(NamedTuple):
    """What there is besides the job."""

    nodes: Sequence[NodeInfo] = ()
    paused: Collection[str] = ()
    ahead: int | None = None  # jobs that come first
    stall: str = ""  # why it cannot go on by itself


async def around(connection: Connection, job: Job) -> Around:
    """Raises BrokerError."""
    return Around(
        await fleet(connection),
        await paused_queues(connection),
        await _ahead(connection, job),
        await stall(connection, job),
    )


def facts_of(state: Job, record: Transcript, told: list[str], beside: Around) -> dict[str, Any]:
    """For programs; `record`, `told`: see `record_of`."""
    stalled = {"eta": None, "warning": f"{beside.stall}: {ADVICE}"} if beside.stall else {}
    return summary(state) | {
        "options": msgspec.to_builtins(state.options),  # without the defaults
        "jobs_ahead": beside.ahead,
        "warning": warning(state, beside.nodes, beside.paused),
        **stalled,
        "caveats": told,
        "unread": sorted(state.unread),
        "speakers": spoke(record),
        **_correction(state),
        **{name: msgspec.to_builtins(getattr(record, name)) for name in OF_RECORD},
    }


def _correction(state: Job) -> dict[str, Any]:
    """Who corrected the transcript, and when."""
    if not state.corrected:
        return {}
    return {"corrected": {"by": state.corrected.by, "at": state.times.get(state.corrected.subject)}}


async def _ahead(connection: Connection, state: Job) -> int | None:
    """How many jobs come first, if any do."""
    with contextlib.suppress(Denied):  # some roles may not look, also below
        return (is_queued(state) and ahead(state.id, await unfinished(connection))) or None
    return None


async def paused_queues(connection: Connection) -> set[str]:
    """The names of the paused queues, as far as this user may look. Raises BrokerError."""
    with contextlib.suppress(Denied):
        return await paused(connection)
    return set()


async def stall(connection: Connection, state: Job) -> str:
    """Why the job, or an entry of a list, cannot go on by itself; empty if it can. Raises BrokerError."""
    return next(iter((await stalled(connection, [job.id for job in state.parts if not job.ended])).values()), "")


async def stalled(connection: Connection, jobs: Iterable[str]) -> dict[str, str]:
    """Those of `jobs` that cannot go on by themselves, and why. Raises BrokerError."""
    with contextlib.suppress(Denied):  # some roles may not look
        found = await confirmed(connection, jobs)
        return {id_: f"{id_} cannot go on by itself, because {one.reason}" for id_, one in found.items()}
    return {}


async def record_of(store: ObjectStore, job: Job) -> tuple[Transcript, list[str]]:
    """A job's record so far, and what it lacks; the earlier job's record if one had done the same."""
    if not (job.completed and (job.completed.of or job.corrected)):
        record = assemble(job)
        return record, caveats(record, finished=job.completed is not None)
    try:
        record = await stored(store, job.transcript)
    except StoreError:  # the record has expired, or the store cannot be reached
        return assemble(job), shortfalls(job)
    return record, caveats(record)
