"""What a user can do to a job that runs or has ended: cancel it, or have it done again."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.events import Cancelled, ChunkDone, Completed, Converted, Downloaded, Failed, Retried, Submitted
from schemas.message import Message
from v2t_stream.errors import StoreError, V2TError
from v2t_stream.jetstream import Connection
from v2t_stream.jobs import Job
from v2t_stream.lists import children
from v2t_stream.object_store import UPLOADED, ObjectStore
from v2t_stream.topology import CHUNKS, JOBS

_AT_ONCE: Final = 16  # jobs cancelled together


async def cancel(connection: Connection, store: ObjectStore | None, job: Job) -> None:
    """End a job: what waits vanishes, what runs stops, its media is removed. Raises V2TError where it has ended.

    `store`: None where it cannot be used from here; then the media stays until it expires.
    With a list go the jobs of its entries; one that is made at this moment ends itself when it is taken up.
    """
    if job.ended:
        raise V2TError(f"job {job.id} cannot be cancelled: it is {job.state} already")
    # From here on it is cancelled, whatever arrives late; the rest is tidying up.
    await connection.publish(Cancelled(job=job.id))
    if not job.downloaded and job.submitted and job.submitted.url:  # it may be a list
        running = [child for child in await children(connection, job.id) if not child.ended]
        for start in range(0, len(running), _AT_ONCE):
            await asyncio.gather(*(cancel(connection, store, child) for child in running[start : start + _AT_ONCE]))
    if job.state == "queued" and not (job.submitted and (job.submitted.media or job.submitted.link)):
        return  # there is nothing of it yet
    await _drop_tasks(connection, job, ("*",))
    if store is None:
        return
    with contextlib.suppress(StoreError):  # it expires by itself
        await store.delete_prefix(f"media/{job.id}/")
        if job.submitted and job.submitted.media and job.submitted.media.startswith(f"{UPLOADED}/"):  # its own
            await store.delete(job.submitted.media)


async def retry(connection: Connection, job: Job, *, chunk: int | None = None, model: str | None = None) -> int | None:
    """Have a job done again as far as it must be; how many chunks that is, None where it begins anew.

    Without more said: what failed. `chunk`: that one, whatever became of it. `model`: do it by
    this one, and without `chunk` all of it. Nothing that is stored is downloaded again: the
    chunks are cut anew from the stored media, always at the same places, and those that have a result are skipped.
    Of a job that runs, what a node has in hand at this moment is still done by the model of before.
    Raises V2TError where there is nothing to do, or while chunks are still cut: who cuts them would see to none that
    lies behind. See `retry_list` for a list.
    """
    if job.cancelled:
        raise V2TError(f"job {job.id} was cancelled, and its media is gone: submit it again")
    if not job.submitted:
        raise V2TError(f"job {job.id} was refused ({job.reason}): submit it again, corrected")
    if chunk is not None and chunk not in job.chunks:
        raise V2TError(f"job {job.id} has no result for chunk {chunk} that could be done again")
    if not job.downloaded:
        await _anew(connection, job, job.submitted, model)
        return None
    if not (job.converted or job.ended):
        raise V2TError(f"job {job.id} is being cut into chunks: retry it when that is done")
    chunks = _to_do(job, chunk, model)
    await _withdraw(connection, job, chunks, Failed, Completed, Converted)
    media = job.downloaded
    # Those that wait name the model of before, and would stand; so would one that is done and not acked yet.
    await _drop_tasks(connection, job, chunks if model is None else ("*",))
    if model is not None and (chunk is not None or not job.ended):
        media = msgspec.structs.replace(media, origin="")  # chunks by two models: no settings give this text
    await _again(connection, media, model)
    return len(chunks)


def _to_do(job: Job, chunk: int | None, model: str | None) -> tuple[int, ...]:
    """The chunks whose results are void by a retry of these arguments. Raises V2TError where there is nothing to do."""
    if chunk is not None:
        return (chunk,)
    if model is not None:
        return tuple(job.chunks)
    gaps = tuple(gap.chunk for gap in job.gaps)
    if not gaps and not job.failed:
        raise V2TError(f"job {job.id} is {job.state} and nothing of it failed: name a --chunk or a --model")
    return gaps


async def retry_list(connection: Connection, job: Job, *, model: str | None = None) -> int:
    """Have those entries of a list done again that failed or have gaps, or with `model` all; how many those are.

    Raises V2TError where there is nothing to do.
    """
    if job.cancelled:
        raise V2TError(f"job {job.id} was cancelled: submit it again")
    chosen = [
        child
        for child in job.parts
        if child.state == "failed" or (child.gaps and child.converted) or (model and child.completed)
    ]
    if not chosen:
        raise V2TError(f"nothing of the list {job.id} failed: name a --model to do all of it by")
    for child in chosen:
        await retry(connection, child, model=model)
    return len(chosen)


async def _anew(connection: Connection, job: Job, submitted: Submitted, model: str | None) -> None:
    """Do a job again of which there is no media here: it failed before, or had been done before."""
    if job.completed and not model:
        raise V2TError(f"job {job.id} was done before as job {job.completed.of}: name a --model to do it by")
    if not job.failed and not job.completed:
        raise V2TError(f"job {job.id} is {job.state}: there is nothing to do again yet")
    await _withdraw(connection, job, (), Failed, Completed)
    await _again(connection, submitted, model)


async def _withdraw(connection: Connection, job: Job, chunks: tuple[int, ...], *ends: type[Message]) -> None:
    """Say that these results are void, then remove them, so that new ones can take their place."""
    await connection.publish(Retried(job=job.id, time=job.retries + 1, chunks=chunks))
    subjects = [end.SUBJECT.format(job=job.id) for end in ends]
    subjects += [ChunkDone.SUBJECT.format(job=job.id, n=n) for n in chunks]
    for subject in subjects:
        await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": subject})


async def _drop_tasks(connection: Connection, job: Job, chunks: Iterable[int | str]) -> None:
    """Remove these chunks, "*" for all, from those that wait to be transcribed."""
    for n in chunks:
        await connection.api(f"STREAM.PURGE.{CHUNKS}", {"filter": f"v2t.chunk.*.{job.id}.{n}"})


async def _again(connection: Connection, fact: Submitted | Downloaded, model: str | None) -> None:
    """Publish the fact that sets the next stage going once more."""
    options = msgspec.structs.replace(fact.options, model=model) if model else fact.options
    await connection.publish(msgspec.structs.replace(fact, options=options), once=False)
