"""Watches a job from the terminal until it ends: its progress on stderr, its segments or its transcript on stdout."""

import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from v2t_stream.errors import V2TError
from v2t_stream.jetstream import Connection
from v2t_stream.jobs import Job
from v2t_stream.topology import JOBS


class JobFailed(V2TError):
    """The job ended without a transcript; the text says why."""


class View(Protocol):
    def update(self, job: Job) -> None:
        """Show what changed."""


async def states(connection: Connection, job_id: str) -> AsyncIterator[Job]:
    """The job after each of its facts, history first, until it ended. One that has no facts yet is waited for."""
    job = Job(job_id)
    async for stored in connection.watch(JOBS, f"v2t.job.{job_id}.>"):
        if stored:
            job.apply(stored)
        yield job
        if job.ended:
            return


async def follow(connection: Connection, job_id: str, *views: View) -> Job:
    """Show a job in `views` until it ended. Raises JobFailed where that is not with a transcript."""
    job = Job(job_id)
    async for job in states(connection, job_id):
        for view in views:
            view.update(job)
    if job.state != "completed":
        raise JobFailed(f"job {job_id} failed: {job.reason}" if job.failed else f"job {job_id} was cancelled")
    return job


class Bars:
    """On stderr a line for each job: its state, how far it is, at what speed, how long yet.

    Where stderr is no terminal, a line for each change of state.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[title]}"),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._live = console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def update(self, job: Job) -> None:
        share, detail = describe(job)
        if not self._live:
            if self._said.get(job.id) != job.state:
                self._said[job.id] = job.state
                click.echo(f"{job.id} {job.state} {detail}".rstrip(), err=True)
            return
        if job.id not in self._tasks:
            self._tasks[job.id] = self._progress.add_task("", total=1.0, title="", detail="")
        title = job.title if len(job.title) <= 30 else job.title[:29] + "…"
        self._progress.update(self._tasks[job.id], description=job.state, completed=share, title=title, detail=detail)


def describe(job: Job) -> tuple[float, str]:
    """How much of the present step is done (0 to 1), and the same in words."""
    match job.state:
        case "downloading":
            download = job.progress["download"]
            share = download.done / download.total if download.total else 0.0
            size = f"{download.done / 1e6:.1f} MB"
            return share, f"{share:.0%} {size}" if download.total else size
        case "converting" | "transcribing":
            parts = []
            if not job.converted:
                total = f" of {clock(job.duration)}" if job.duration else ""
                parts.append(f"decoded {clock(job.decoded)}{total}")
            more = "" if job.converted else "+"
            parts.append(f"chunks {len(job.chunks)}/{job.chunks_cut}{more}")
            if job.speed:
                parts.append(f"{job.speed:.1f}x")
            if job.eta is not None:
                parts.append(f"ETA {clock(job.eta)}")
            return (job.transcribed / job.duration if job.duration else 0.0), "  ".join(parts)
        case "completed":
            parts = [f"{clock(job.duration or 0)} of media"]
            if job.started_at and job.ended_at:
                parts.append(f"in {job.ended_at - job.started_at:.1f} s")
            if job.gaps:
                parts.append(f"{len(job.gaps)} chunks missing")
            return 1.0, "  ".join(parts)
    return 0.0, ""


class Segments:
    """Prints segments on stdout in their order, each as soon as all before it are there."""

    def __init__(self) -> None:
        self._next = 0

    def update(self, job: Job) -> None:
        while chunk := job.chunks.get(self._next):
            self._next += 1
            if chunk.error:
                click.echo(f"[{clock(chunk.start)} - {clock(chunk.end)}] [missing: {chunk.error}]")
            for segment in chunk.segments:
                click.echo(f"[{clock(segment.start)} - {clock(segment.end)}] {segment.text}")
        sys.stdout.flush()


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
