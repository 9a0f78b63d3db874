"""Removes a job that has ended, for good: its facts and its files.

One fact stays, `Cancelled` with `removed`, so that no message that comes late brings the job back. It is stored first:
whatever happens after that, the job is gone for everyone, and removing it again does the rest.
"""

import contextlib

import msgspec

from schemas.events import Cancelled, DeadLetter, Done
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, StoreError, V2TError
from v2t_stream.jobs import links
from v2t_stream.jobs.copies import remove_copies
from v2t_stream.jobs.operations import remove_media
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.superseded import named, transcripts_of
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import BucketStore, ObjectStore
from v2t_stream.topology.streams import DEAD, DONE, JOBS
from v2t_stream.topology.subjects import ALL_DONE, facts_of


def check(job: Job) -> None:
    """Raises V2TError if the job cannot be removed yet."""
    if job.sequences and not job.ended:
        raise V2TError(f"job {job.id} is {job.state}: cancel it first, with v2t job cancel {job.id}")


async def remove(connection: Connection, store: ObjectStore, settings: Settings, job: Job) -> bool:
    """Remove a job, and a list with its entries; returns whether a transcript stays because another job points to it.

    Raises V2TError if it has not ended, or if a retry has just begun.
    """
    jobs = [*job.children.values(), job]
    for each in jobs:
        check(each)
    marks = [await _marked(connection, each) for each in jobs]
    gone = {each.id for each in jobs}
    await _forget(connection, gone)
    shown = {prefix for prefix, by in (await named(connection)).items() if by - gone}
    kept = False
    for each, mark in zip(jobs, marks, strict=True):
        await connection.api(f"STREAM.PURGE.{DEAD}", {"filter": DeadLetter.subject_of(stage="*", job=each.id)})
        await remove_media(store, each)
        with contextlib.suppress(StoreError, Denied):  # it expires by itself
            await links.remove_callback(store, each.id)
        if isinstance(store, BucketStore):
            await remove_copies(store, settings, each)
        kept = await _remove_transcripts(store, each, shown) or kept
        # Last, because they say where the files are. The mark is younger, and stays.
        await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": facts_of(each.id), "seq": mark})
    return kept


async def _marked(connection: Connection, job: Job) -> int:
    """Mark the job as removed, anew if it already is; returns the sequence of that fact."""
    mark = Cancelled(job=job.id, run=job.run, removed=True)
    if not await connection.publish(mark, replaces=job.sequences.get(mark.subject, 0)):
        raise V2TError(f"somebody else has just changed job {job.id}: look at it again with v2t job status {job.id}")
    stored = await connection.last(JOBS, mark.subject)
    return stored.sequence if stored else 0


async def _forget(connection: Connection, gone: set[str]) -> None:
    """Remove the records that these jobs have done the work: later jobs do it again."""
    async for stored in connection.watch(DONE, ALL_DONE, live=False):
        with contextlib.suppress(msgspec.DecodeError):  # from a newer release, or damaged
            if stored and decode_as(Done, stored.data).job in gone:
                purge = {"filter": stored.subject, "seq": stored.sequence + 1}  # not a later job's
                await connection.api(f"STREAM.PURGE.{DONE}", purge)


async def _remove_transcripts(store: ObjectStore, job: Job, shown: set[str]) -> bool:
    """Remove the job's transcripts, except those that other jobs show as theirs; returns whether there are any such.

    The sweep for superseded transcripts removes these when nobody points to them any more.
    """
    prefixes = await transcripts_of(store, job.id)
    for prefix in prefixes:
        if prefix not in shown:
            await _delete(store, prefix)
    return not shown.isdisjoint(prefixes)


async def _delete(store: ObjectStore, prefix: str) -> None:
    # The record first: without it, nothing takes the others for a transcript.
    await store.delete(f"{prefix}.json")
    await store.delete_prefix(f"{prefix}.")
