"""What a user can do with a job: cancel it, or retry it."""

import asyncio
import contextlib
from typing import Final

from msgspec.structs import replace

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, Downloaded, Rerun, Submitted
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, Denied, StoreError, V2TError
from v2t_stream.fleet.ability import refused
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs.dead_letters import discard_answered
from v2t_stream.jobs.lists import children
from v2t_stream.jobs.state import Job
from v2t_stream.store.pieces import Pieces
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.streams import CHUNKS, JOBS
from v2t_stream.topology.subjects import any_run

_AT_ONCE: Final = 16  # jobs cancelled together
_KNOWS_RUNS: Final = 3  # the first layout whose nodes know runs


async def cancel(connection: Connection, store: ObjectStore | None, job: Job) -> None:
    """End a job: drop its waiting work, stop its running work, remove its media. Raises V2TError if it has ended.

    `store`: None if we cannot use it from here; then the media stays until it expires.
    This also cancels a list's entries. An entry that is being created right now ends itself when a stage takes it.
    """
    if job.ended:
        raise V2TError(f"job {job.id} cannot be cancelled: it is already {job.state}")
    # From here on it is cancelled, whatever arrives late; the rest is cleanup.
    if not await connection.publish(Cancelled(job=job.id, run=job.run)):
        raise V2TError(f"job {job.id} cannot be cancelled: it has just completed")
    if not job.downloaded and job.submitted and job.submitted.url:  # it may be a list
        await _cancel_entries(connection, store, job.id)
    if job.state == "queued" and not (job.submitted and (job.submitted.media or job.submitted.link)):
        return  # it has nothing to clean up yet
    with contextlib.suppress(BrokerError):  # a stage that takes them sees that the job was cancelled
        for tasks in any_run(ChunkTask, queue="*", job=job.id, n="*"):
            await _drop(connection, tasks)
    if store:
        await remove_media(store, job)


async def _cancel_entries(connection: Connection, store: ObjectStore | None, list_id: str) -> None:
    running = [child for child in await children(connection, list_id) if not child.ended]
    for start in range(0, len(running), _AT_ONCE):
        await asyncio.gather(*(cancel(connection, store, child) for child in running[start : start + _AT_ONCE]))


async def remove_media(store: ObjectStore, job: Job) -> None:
    """Remove a job's media, as far as it can be removed from here: the rest expires."""
    with contextlib.suppress(StoreError, Denied):  # it expires by itself
        await store.delete_prefix(f"media/{job.id}/")
        media = (job.submitted and job.submitted.media) or ""
        if pieces := Pieces.of(store, media):  # its own
            await pieces.forget()
            await store.delete(media)


async def retry(
    connection: Connection,
    job: Job,
    *,
    chunk: int | None = None,
    model: str | None = None,
    keep_correction: bool = False,
) -> int | None:
    """Begin a new run of a job; returns how many chunks it redoes, None if it starts over.

    By default it redoes what failed. `chunk`: redo that chunk, whatever its result. `model`: use this model, and redo
    everything unless `chunk` is given. `keep_correction`: what a person corrected is corrected in the new transcript
    too. Stored media is not downloaded again: convert cuts it again, always at the same places, and the new run keeps
    the results of all other chunks. Work in progress for the run before stops. Raises
    V2TError if there is nothing to do, if somebody else has just retried or cancelled the job, or if nodes of release
    0.1, which do not know runs, would lose it. See `retry_list` for a list.
    """
    begins = _beginning(job)
    if chunk is not None and chunk not in job.chunks:
        raise V2TError(f"job {job.id} has no result for chunk {chunk}: there is nothing to redo")
    if keep_correction and not (job.corrected or job.kept_correction):
        raise V2TError(f"nobody has corrected the transcript of job {job.id}: retry it without --keep-correction")
    keeps: tuple[int, ...] = ()
    if job.downloaded:
        keeps = _kept(job, chunk, model)
        begins = replace(job.downloaded, origin=_origin(job, keeps, model))
    else:
        _check_anew(job, model)
    options = replace(begins.options, model=model) if model else begins.options
    if model and (reason := await refused(connection, options)):
        raise V2TError(reason)
    rerun = Rerun(
        job=job.id,
        run=job.run + 1,
        begins=replace(begins, run=job.run + 1, options=options),
        keeps=keeps,
        language=job.language.language if job.language and keeps else None,
        keeps_correction=keep_correction,
    )
    await _begin(connection, job, rerun)
    return len(job.chunks) - len(keeps) if job.downloaded else None


def _beginning(job: Job) -> Submitted | Downloaded:
    """What its runs begin with. Raises V2TError if it cannot have another run."""
    if job.cancelled:
        raise V2TError(f"job {job.id} was cancelled, and its media is gone: submit it again")
    if job.moved:
        raise V2TError(f"job {job.id} continues as job {job.moved}: retry that one")
    if not job.submitted:
        raise V2TError(f"job {job.id} was refused ({job.reason}): correct it and submit it again")
    return job.begun or job.submitted


def _origin(job: Job, keeps: tuple[int, ...], model: str | None) -> str:
    """The origin to remember the result under; empty if two models did chunks, as no settings give that text."""
    if keeps:
        return "" if model or not job.downloaded else job.downloaded.origin
    return next((run.media.origin for run in job.runs.values() if run.media and run.media.origin), "")


def _kept(job: Job, chunk: int | None, model: str | None) -> tuple[int, ...]:
    """The chunks whose results are kept. Raises V2TError if there is nothing to do."""
    if chunk is not None:
        return tuple(sorted(job.chunks.keys() - {chunk}))
    if model is not None:
        return ()
    if not job.gaps and not job.failed:
        redo = "pass --chunk N or --model NAME to redo part of it"
        raise V2TError(f"job {job.id} is {job.state}, so there is nothing to retry: {redo}")
    return tuple(sorted(n for n, result in job.chunks.items() if not result.error))


def _check_anew(job: Job, model: str | None) -> None:
    """For a job without media. Raises V2TError unless it failed, or another job had done it before."""
    if job.completed and not model:
        raise V2TError(f"job {job.id} was done before as job {job.completed.of}: pass --model NAME to redo it")
    if not job.failed and not job.completed:
        raise V2TError(f"job {job.id} is {job.state}: there is nothing to retry yet")


async def _begin(connection: Connection, job: Job, rerun: Rerun) -> None:
    """Publish the one message that is the retry. What follows is cleanup, which may be skipped."""
    if old := sorted({info.node for info in await fleet(connection) if info.layout < _KNOWS_RUNS}):
        raise V2TError(f"job {job.id} cannot be retried while nodes run release 0.1: update {', '.join(old)} first")
    if not await connection.publish(rerun):
        raise V2TError(f"somebody else has just retried job {job.id}: wait for that retry to end")
    if await connection.last(JOBS, Cancelled.subject_of(job=job.id)) is not None:
        raise V2TError(f"somebody else has just cancelled job {job.id}, and its media is gone: submit it again")
    with contextlib.suppress(BrokerError):
        await _drop(connection, ChunkTask.subject_of(queue="*", job=job.id, run=job.run, n="*"))
        await discard_answered(connection, rerun)


async def retry_list(connection: Connection, job: Job, *, model: str | None = None) -> int:
    """Retry the entries of a list that failed or have gaps, or with `model` all; returns how many.

    Raises V2TError if there is nothing to do.
    """
    if job.cancelled:
        raise V2TError(f"job {job.id} was cancelled: submit it again")
    chosen = [
        child
        for child in job.parts
        if child.state == "failed" or (child.gaps and child.converted) or (model and child.completed)
    ]
    if not chosen:
        raise V2TError(f"no entry of the list {job.id} failed: pass --model NAME to redo all of them")
    for child in chosen:
        await retry(connection, child, model=model)
    return len(chosen)


async def _drop(connection: Connection, tasks: str) -> None:
    """Remove these waiting chunks from the queue."""
    await connection.api(f"STREAM.PURGE.{CHUNKS}", {"filter": tasks})
