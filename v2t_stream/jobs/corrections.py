"""Corrections of transcripts by people: each is a record of its own in the store, and a fact that says it counts.

What corrects a transcript, such as `v2t job edit`, makes a corrected record and calls `correct`. The transcript that it
corrects stays as it is.
"""

import logging
import secrets

from schemas.events import Cancelled, Corrected, Rerun
from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import ObjectMissing, V2TError
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.edited import carried
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.written import write
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.ids import folder
from v2t_stream.topology.streams import JOBS

log = logging.getLogger(__name__)


async def correct(connection: Connection, store: ObjectStore, job: Job, record: Transcript, *, by: str) -> Corrected:
    """Let `record` count as the transcript of the run of `job`, which must be as it was when the work on it began.

    Raises V2TError if somebody else has corrected, retried or removed it since; then this changes nothing.
    """
    if not job.completed:
        raise V2TError(f"job {job.id} has no transcript to correct: it is {job.state}")
    await _check_current(connection, job)
    replaces = job.sequences.get(Corrected.subject_of(job=job.id, run=job.run), 0)
    fact = _fact(job, record, _prefix(job, replaces, secrets.token_hex(8)), of=job.completed.transcript, by=by)
    await write(store, fact.transcript, record)
    if not await connection.publish(fact, replaces=replaces):
        await store.delete_prefix(f"{fact.transcript}.")
        raise V2TError(f"somebody else has corrected job {job.id} meanwhile, so your correction was not stored")
    await _check_current(connection, job)  # one that came a moment ago does not count it
    return fact


async def carry(store: ObjectStore, job: Job, transcript: Transcript) -> tuple[Transcript, Corrected] | None:
    """The transcript of a retry with the correction that it keeps; None if it keeps none.

    It depends only on the job's facts and files, so everyone who stores it stores the same.
    """
    kept = job.kept_correction
    if kept is None:
        return None
    try:
        before, correction = await stored(store, kept.of), await stored(store, kept.transcript)
    except ObjectMissing as error:
        log.warning("the correction of job %s cannot be kept: %s", job.id, error)
        return None
    record = carried(before, correction, transcript)
    original = f"transcripts/{folder(job.id, job.run)}/transcript"
    fact = _fact(job, record, _prefix(job, 0, "kept"), of=original, by=kept.by)
    await write(store, fact.transcript, record)
    return record, fact


async def _check_current(connection: Connection, job: Job) -> None:
    """Raises V2TError if this run of the job no longer counts."""
    later = [Rerun.subject_of(job=job.id, run=job.run + 1), Cancelled.subject_of(job=job.id)]
    if await connection.any_of(JOBS, later):
        raise V2TError(f"somebody has retried or removed job {job.id} meanwhile, so your correction does not count")


def _prefix(job: Job, replaces: int, name: str) -> str:
    """In the order of the corrections, for readers when the facts of the job have expired."""
    return f"transcripts/{folder(job.id, job.run)}/corrections/{replaces:016}-{name}/transcript"


def _fact(job: Job, record: Transcript, transcript: str, *, of: str, by: str) -> Corrected:
    return Corrected(
        job=job.id,
        run=job.run,
        transcript=transcript,
        of=of,
        by=by,
        segments=len(record.segments),
        gaps=len(record.gaps),
        unheard=len(record.unheard),
    )
