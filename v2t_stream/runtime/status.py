"""All that can be said of a job, for `v2t job status` and the HTTP API."""

import contextlib
from typing import Any, Final

import msgspec

from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, StoreError
from v2t_stream.fleet.presence import fleet
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


async def facts_of(connection: Connection, state: Job, record: Transcript, told: list[str]) -> dict[str, Any]:
    """For programs; `record`, `told`: see `record_of`. Raises BrokerError."""
    return summary(state) | {
        "options": msgspec.to_builtins(state.options),  # without the defaults
        "jobs_ahead": await _ahead(connection, state),
        "warning": warning(state, await fleet(connection), await _paused(connection)),
        **await _stalled(connection, state),
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


async def _paused(connection: Connection) -> set[str]:
    with contextlib.suppress(Denied):
        return await paused(connection)
    return set()


async def _stalled(connection: Connection, state: Job) -> dict[str, Any]:
    """If the job, or an entry of a list, cannot go on by itself: a warning in place of its remaining time."""
    with contextlib.suppress(Denied):  # some roles may not look
        for id_, stall in (await confirmed(connection, [job.id for job in state.parts if not job.ended])).items():
            return {"eta": None, "warning": f"{id_} cannot go on by itself, because {stall.reason}: {ADVICE}"}
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
