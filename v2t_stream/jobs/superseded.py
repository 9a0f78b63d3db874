"""Removes transcripts of runs that a retry replaced and that nothing points to any more."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from schemas.events import Cancelled, Completed, Done
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.census import latest_runs
from v2t_stream.jobs.facts import Run
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.ids import folder
from v2t_stream.topology.streams import DONE, JOBS
from v2t_stream.topology.subjects import any_run, but_chunks, job_of

_OURS: Final = re.compile(r"(transcripts/[^/]+/(?:\d+/)?(?:corrections/[^/]+/)?transcript)\.\w+")
_MEMORY: Final = ""  # instead of a job: the record of earlier work


async def remove_superseded(connection: Connection, store: ObjectStore, job_id: str) -> None:
    """Remove what a job's runs stored, completely or in part, and nothing points to any more.

    A transcript stays if the record of earlier work names it, or another job that got it from that record. Raises
    BrokerError and StoreError; whatever this leaves, `sweep_superseded` removes later.
    """
    job = await _read(connection, job_id)
    if replaced := _replaced(job):
        pointing = await named(connection)
        for number in replaced:
            await _remove(store, _files(job, number, pointing))


async def sweep_superseded(connection: Connection, store: ObjectStore) -> int:
    """Remove what aggregators left when they died or hung while storing a transcript; returns how many files.

    Raises BrokerError and StoreError.
    """
    runs = await latest_runs(connection)
    cancelled = {job_of(subject) for subject in await connection.subjects(JOBS, Cancelled.subject_of(job="*"))}
    if not runs and not cancelled:
        return 0
    there = {*await store.keys("transcripts/")}
    prefixes = {key.rpartition(".")[0] for key in there}
    pointing = await named(connection)
    removed = 0
    for job_id in {*runs, *cancelled}:
        suspects = range(runs.get(job_id, 0) + (job_id in cancelled))
        if any(_prefix(job_id, number) in prefixes for number in suspects):
            job = await _read(connection, job_id)
            for number in _replaced(job):
                removed += await _remove(store, [file for file in _files(job, number, pointing) if file in there])
    return removed


async def _read(connection: Connection, job_id: str) -> Job:
    return fold(job_id, await history(connection, but_chunks(job_id)))


def _replaced(job: Job) -> list[int]:
    """The runs whose files no reader of this job needs any more."""
    if job.state == "completed":
        return [*range(job.run)]
    if job.state == "cancelled":  # there may be only the first of its files
        return [number for number in range(job.run + 1) if not job.runs.get(number, Run()).completed]
    return []


def _prefix(job_id: str, number: int) -> str:
    return f"transcripts/{folder(job_id, number)}/transcript"


def _files(job: Job, number: int, pointing: Mapping[str, set[str]]) -> list[str]:
    """The files of a run, unless something besides its own end names them."""
    prefix = _prefix(job.id, number)
    if pointing.get(prefix, set()) - {job.id}:
        return []
    # The record first: without it, nothing takes the others for a transcript.
    return [f"{prefix}.{format_}" for format_ in FORMATS]


async def _remove(store: ObjectStore, files: list[str]) -> int:
    for file in files:
        await store.delete(file)
    return len(files)


async def transcripts_of(store: ObjectStore, job_id: str) -> list[str]:
    """The prefixes of the transcripts that a job's runs stored, completely or in part."""
    found = map(_OURS.fullmatch, await store.keys(f"transcripts/{job_id}/"))  # an upload may have such a path too
    return sorted({match[1] for match in found if match})


async def named(connection: Connection) -> Mapping[str, set[str]]:
    """By transcript: the jobs that ended with it, and _MEMORY if the record of earlier work names it."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for data in await connection.latest(DONE, Done.subject_of(key="*")):
        with contextlib.suppress(msgspec.DecodeError):  # from a newer release, or damaged
            found[decode_as(Done, data).transcript].add(_MEMORY)
    for fact in await history(connection, [*any_run(Completed, job="*")]):
        with contextlib.suppress(msgspec.DecodeError):
            end = decode_as(Completed, fact.data)
            found[end.transcript].add(end.job)
    return found
