"""Transcripts of runs that a retry has replaced, and to which nothing points any more."""

import contextlib

import msgspec

from schemas.events import Completed
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import previous
from v2t_stream.jobs.facts import Run
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import fold
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.subjects import any_run, but_chunks


async def remove_superseded(connection: Connection, store: ObjectStore, job_id: str) -> None:
    """Remove what older runs of a completed job have stored and nobody comes by any more.

    A transcript stays where the memory of what was done before names it, or another job that was given it out of that
    memory. Raises BrokerError and StoreError; where it is missed, some files stay.
    """
    job = fold(job_id, await history(connection, but_chunks(job_id)))
    if not job.completed:
        return
    older = [run for number, run in job.runs.items() if number < job.run and run.completed and not run.completed.of]
    for run in older:
        if run.completed and not await _is_pointed_to(connection, run, run.completed):
            for format_ in FORMATS:
                await store.delete(f"{run.completed.transcript}.{format_}")


async def _is_pointed_to(connection: Connection, run: Run, completed: Completed) -> bool:
    """Whether what a run has stored is named by more than its own end."""
    if run.media is None or not run.media.origin or completed.gaps:
        return False  # so it was never remembered
    remembered = await previous.latest(connection, previous.key(run.media.origin, run.media.options))
    if remembered and remembered.transcript == completed.transcript:
        return True
    facts = await history(connection, [*any_run(Completed, job="*")])
    for fact in facts:
        with contextlib.suppress(msgspec.DecodeError):  # of a newer release, or damaged
            end = decode_as(Completed, fact.data)
            if end.transcript == completed.transcript and end.job != completed.job:
                return True
    return False
