"""What a user can do to a job that runs or has ended: cancel it, or have it done again."""

import contextlib

import msgspec

from schemas.events import Cancelled, ChunkDone, Completed, Converted, Downloaded, Failed, Retried, Submitted
from schemas.message import Message
from v2t_stream.errors import StoreError, V2TError
from v2t_stream.jetstream import Connection
from v2t_stream.jobs import Job
from v2t_stream.object_store import ObjectStore
from v2t_stream.topology import CHUNKS, JOBS


async def cancel(connection: Connection, store: ObjectStore, job: Job) -> None:
    """End a job: what waits vanishes, what runs stops, its media is removed. Raises V2TError where it has ended."""
    if job.ended:
        raise V2TError(f"job {job.id} cannot be cancelled: it is {job.state} already")
    # From here on it is cancelled, whatever arrives late; the rest is tidying up.
    await connection.publish(Cancelled(job=job.id))
    await connection.api(f"STREAM.PURGE.{CHUNKS}", {"filter": f"v2t.chunk.*.{job.id}.>"})
    with contextlib.suppress(StoreError):  # it expires by itself
        await store.delete_prefix(f"media/{job.id}/")
        if job.submitted and job.submitted.media:
            await store.delete(job.submitted.media)


async def retry(connection: Connection, job: Job, *, chunk: int | None = None, model: str | None = None) -> int | None:
    """Have a job done again as far as it must be; how many chunks that is, None where it begins anew.

    Without more said: what failed. `chunk`: that one, whatever became of it. `model`: do it by
    this one, and without `chunk` all of it. Nothing that is stored is downloaded again: the
    chunks are cut anew from the stored media, always at the same places, and those that have a result are skipped.
    Raises V2TError where there is nothing to do.
    """
    if job.cancelled:
        raise V2TError(f"job {job.id} was cancelled, and its media is gone: submit it again")
    if not job.submitted:
        raise V2TError(f"job {job.id} was refused ({job.reason}): submit it again, corrected")
    if chunk is not None and chunk not in job.chunks:
        raise V2TError(f"job {job.id} has no result for chunk {chunk} that could be done again")
    if not job.downloaded:
        if not job.failed:
            raise V2TError(f"job {job.id} is {job.state}: there is nothing to do again yet")
        await _withdraw(connection, job, (), Failed)
        await _again(connection, job.submitted, model)
        return None
    chunks: tuple[int, ...]
    if chunk is not None:
        chunks = (chunk,)
    elif model is not None:
        chunks = tuple(job.chunks)
    else:
        chunks = tuple(gap.chunk for gap in job.gaps)
        if not chunks and not job.failed:
            raise V2TError(f"job {job.id} is {job.state} and nothing of it failed: name a --chunk or a --model")
    await _withdraw(connection, job, chunks, Failed, Completed, Converted)
    await _again(connection, job.downloaded, model)
    return len(chunks)


async def _withdraw(connection: Connection, job: Job, chunks: tuple[int, ...], *ends: type[Message]) -> None:
    """Say that these results are void, then remove them, so that new ones can take their place."""
    await connection.publish(Retried(job=job.id, time=job.retries + 1, chunks=chunks))
    subjects = [end.SUBJECT.format(job=job.id) for end in ends]
    subjects += [ChunkDone.SUBJECT.format(job=job.id, n=n) for n in chunks]
    for subject in subjects:
        await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": subject})


async def _again(connection: Connection, fact: Submitted | Downloaded, model: str | None) -> None:
    """Publish the fact that sets the next stage going once more."""
    options = msgspec.structs.replace(fact.options, model=model) if model else fact.options
    await connection.publish(msgspec.structs.replace(fact, options=options), once=False)
