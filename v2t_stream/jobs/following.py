"""Follows a job from its first fact to its end."""

import contextlib
from collections.abc import AsyncGenerator

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import Job
from v2t_stream.topology.ids import child_id, place_of
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import facts_of, first_run_of, job_of


async def states(connection: Connection, job_id: str) -> AsyncGenerator[Job]:
    """The job after each of its facts, history first, until it ends. Waits for a job that has no facts yet.

    If another job replaces it, that job's facts follow.
    """
    job = Job(job_id)
    async with contextlib.aclosing(changes(connection, job)) as changing:
        async for _ in changing:
            if not job.moved:
                yield job
    if job.moved:
        async for moved in states(connection, job.moved):
            yield moved


async def changes(connection: Connection, job: Job) -> AsyncGenerator[Job]:
    """Keep `job` up to date until it ends; after each fact yield what it changed, the job or one of its entries.

    Nothing is yielded before the history is read: it may hold the end of an older run, which a retry has superseded.
    """
    for watch in (_until_listed, _with_entries):
        async with contextlib.aclosing(watch(connection, job)) as changing:
            async for changed in changing:
                yield changed
        if job.ended:
            return


async def _until_listed(connection: Connection, job: Job) -> AsyncGenerator[Job]:
    """Watch the job alone, until it ends or turns out to be a list."""
    caught_up = False
    async with contextlib.aclosing(connection.watch(JOBS, facts_of(job.id))) as facts:
        async for stored in facts:
            if stored:
                job.apply(stored)
            caught_up = caught_up or stored is None
            if caught_up:
                yield job
                if job.ended or job.listed:
                    return


async def _with_entries(connection: Connection, job: Job) -> AsyncGenerator[Job]:
    """Watch a list together with its entries, until all have ended."""
    entries = job.listed.children if job.listed else 0
    patterns = [facts_of(child_id(job.id, n)) for n in range(1, entries + 1)]
    caught_up = False
    async with contextlib.aclosing(connection.watch(JOBS, first_run_of(job.id), *patterns)) as facts:
        async for stored in facts:
            changed = [_changed(job, stored)] if stored else job.parts
            caught_up = caught_up or stored is None
            if not caught_up:
                continue
            for each in changed:
                yield each
            if changed[-1].ended and job.ended:
                yield job
                return


def _changed(job: Job, stored: Stored) -> Job:
    """Apply a fact; returns the job that it changed: this one, or one of its entries."""
    job.apply(stored)
    _, place = place_of(job_of(stored.subject))
    return job.children[place] if place else job
