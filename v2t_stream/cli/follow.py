"""Watches a job until it ends, and prints its segments."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import click

from schemas.events import ChunkDone
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import StoreChanged, V2TError
from v2t_stream.jobs.following import changes
from v2t_stream.jobs.formats import UNHEARD, missing
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.streams import INBOX
from v2t_stream.units import clock

_LINE: Final = 10_000  # characters of a segment


class JobFailed(V2TError):
    """The job ended without a transcript; the text says why."""


class View(Protocol):
    def update(self, job: Job) -> None:
        """Show what changed."""


async def follow(connection: Connection, job_id: str, *views: View) -> Job:
    """Show a job in `views` until it ends; for a list, also its entries.

    Returns the job that ended, which may be one that replaced it. Raises JobFailed unless it, and each of its entries,
    ended with a transcript, and StoreChanged if the job may be lost.
    """
    job = Job(job_id)
    for view in views:
        view.update(job)  # it may have to wait before it has facts
    try:
        await _show(connection, job, *views)
    except StoreChanged as error:
        raise StoreChanged(f"{error}: job {job_id} may be lost; see v2t job list, and submit it again") from error
    if job.moved:
        await connection.hold_to(INBOX)
        return await follow(connection, job.moved, *views)
    if job.state != "completed":
        raise JobFailed(f"job {job_id} failed: {one_line(job.reason)}" if job.reason else f"job {job_id} was cancelled")
    return job


async def _show(connection: Connection, job: Job, *views: View) -> None:
    async with contextlib.aclosing(changes(connection, job)) as changing:
        async for changed in changing:
            for view in () if job.moved else views:
                view.update(changed)
                if changed is not job and changed.ended:
                    view.update(job)


class Segments:
    """Prints segments in order, each as soon as all segments before it have arrived. A retry starts over.

    `titled`: several jobs take turns, so a line with the title says whose segments follow.
    """

    def __init__(self, say: Callable[[str], None] = click.echo, *, titled: bool = False) -> None:
        self._say = say
        self._titled = titled
        self._last = ""
        self._next: dict[tuple[str, int], int] = {}  # by job and run

    def update(self, job: Job) -> None:
        chunks, of = job.chunks, (job.id, job.run)
        while chunk := chunks.get(self._next.setdefault(of, 0)):
            self._next[of] += 1
            if (self._titled or place_of(job.id)[1]) and self._last != job.id:
                self._last = job.id
                self._say(heading(job))
            for start, end, text in sorted(_said(chunk)):
                self._say(f"[{clock(start)} - {clock(end)}] {text}")
        sys.stdout.flush()


def _said(chunk: ChunkDone) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each line of a chunk."""
    if chunk.error:
        yield chunk.start, chunk.end, missing(one_line(chunk.error))
    for speech in chunk.unheard:
        yield speech.start, speech.end, missing(UNHEARD)
    for segment in chunk.segments:
        yield segment.start, segment.end, one_line(segment.text, _LINE)


def heading(job: Job) -> str:
    """The line above the output of one of several jobs, as `tail` prints it for several files."""
    return f"==> {one_line(job.title)} ({job.id}) <=="
