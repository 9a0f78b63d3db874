"""Watches a job from the terminal until it ends: its progress on stderr, its segments or its transcript on stdout."""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from schemas.events import ChunkDone
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError, StoreChanged, V2TError
from v2t_stream.fleet.presence import ANNOUNCE_EVERY, FETCHING, fleet
from v2t_stream.host import tasks
from v2t_stream.jobs.formats import UNHEARD, missing
from v2t_stream.jobs.progress import clock, counted, describe, summed_up
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import warning
from v2t_stream.text import HARMFUL, one_line
from v2t_stream.topology.ids import child_id, place_of
from v2t_stream.topology.streams import INBOX, JOBS
from v2t_stream.topology.subjects import job_of

_PATIENCE: Final = 15.0  # seconds until a job's lack of a node is told: one may just be starting
_LINE: Final = 10_000  # characters of a segment


class JobFailed(V2TError):
    """The job ended without a transcript; the text says why."""


class View(Protocol):
    def update(self, job: Job) -> None:
        """Show what changed."""


async def states(connection: Connection, job_id: str) -> AsyncIterator[Job]:
    """The job after each of its facts, history first, until it ended. One that has no facts yet is waited for.

    Where another job does it in its place, that one follows.
    """
    job = Job(job_id)
    async with contextlib.aclosing(_changes(connection, job)) as changes:
        async for _ in changes:
            if not job.moved:
                yield job
    if job.moved:
        async for moved in states(connection, job.moved):
            yield moved


async def _changes(connection: Connection, job: Job) -> AsyncGenerator[Job]:
    """Keep `job` up to date until it ended; after each fact whose it was, its own or that of an entry.

    Only when all that stands is known: the end of a run that a retry has left behind is none.
    """
    caught_up = False
    async with contextlib.aclosing(connection.watch(JOBS, f"v2t.job.{job.id}.>")) as facts:
        async for stored in facts:
            if stored:
                job.apply(stored)
            caught_up = caught_up or stored is None
            if not caught_up:
                continue
            yield job
            if job.ended:
                return
            if job.listed:
                break
    patterns = [f"v2t.job.{child_id(job.id, n)}.>" for n in range(1, job.listed.children + 1)] if job.listed else []
    async with contextlib.aclosing(connection.watch(JOBS, f"v2t.job.{job.id}.*", *patterns)) as facts:
        caught_up = False
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
    """Apply a fact; whose it is, the job or one of its entries."""
    job.apply(stored)
    _, place = place_of(job_of(stored.subject))
    return job.children[place] if place else job


async def follow(connection: Connection, job_id: str, *views: View) -> Job:
    """Show a job in `views` until it ended, and the jobs of its entries where it is a list.

    The one that ended is another where that does it in its place. Raises JobFailed where it did not end with a
    transcript, or not with one of each entry, and StoreChanged where it may be lost.
    """
    job = Job(job_id)
    try:
        await _follow(connection, job, *views)
    except StoreChanged as error:
        raise StoreChanged(f"{error}: job {job_id} may be lost; see v2t job list, and submit it again") from error
    if job.moved:
        await connection.hold_to(INBOX)
        return await follow(connection, job.moved, *views)
    if job.state != "completed":
        raise JobFailed(f"job {job_id} failed: {one_line(job.reason)}" if job.reason else f"job {job_id} was cancelled")
    return job


async def _follow(connection: Connection, job: Job, *views: View) -> None:
    async with contextlib.aclosing(_changes(connection, job)) as changes:
        async for changed in changes:
            for view in () if job.moved else views:
                view.update(changed)
                if changed is not job and changed.ended:
                    view.update(job)


@contextlib.asynccontextmanager
async def fleet_shown(connection: Connection, bars: "Bars") -> AsyncGenerator[None]:
    """Show, while the block runs, what jobs in `bars` wait for: a model on its way, a node that nobody has started."""

    async def look() -> None:
        since: dict[str, float] = {}  # by sentence
        said: set[str] = set()
        while True:
            with contextlib.suppress(BrokerError):
                nodes = await fleet(connection)
                bars.tell({info.node: info.state for info in nodes if info.state.startswith(FETCHING)})
                held = Counter(filter(None, (warning(job, nodes) for job in bars.unfinished)))
                now = time.monotonic()
                since = {sentence: since.get(sentence, now) for sentence in held}
                due = {sentence for sentence in held if now - since[sentence] >= _PATIENCE}
                for sentence in due - said:
                    bars.warn(f"v2t: {counted(held[sentence], 'job waits', 'jobs wait')}, as {sentence}")
                said = due
            await asyncio.sleep(ANNOUNCE_EVERY)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        await tasks.end(looking)


class Bars:
    """On stderr a line for each job that runs: its state, how far it is, at what speed, how long yet.

    Where stderr is no terminal, a line for each change of state.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        title = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[title]}", markup=False, table_column=title),
            TextColumn("{task.description}", style="bold", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            expand=True,
            transient=True,  # a job that ended leaves a line of its own
            redirect_stdout=False,  # it would send the transcript to stderr
        )
        self._live = self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._machines: dict[str, TaskID] = {}
        self._unfinished: dict[str, Job] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str) -> None:
        """Print on stdout without breaking the bars."""
        if self._live and sys.stdout.isatty():
            self._console.print(Text(HARMFUL.sub("\ufffd", text)), soft_wrap=True)
        else:
            click.echo(text)

    def warn(self, text: str) -> None:
        """Print on stderr without breaking the bars."""
        if self._live:
            self._console.print(Text(HARMFUL.sub("\ufffd", text)), soft_wrap=True)
        else:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def step(self, title: str, name: str) -> Iterator[None]:
        """Show `name` for `title` while the block runs, as long as there is no job to tell of."""
        task = self._progress.add_task(name, total=None, title=one_line(title), detail="") if self._live else None
        try:
            yield
        finally:
            if task is not None:
                self._progress.remove_task(task)

    def tell(self, states: dict[str, str]) -> None:
        """Show what machines are up to besides jobs, by their names, in place of what they were before."""
        for machine in self._machines.keys() - states.keys():
            self._progress.remove_task(self._machines.pop(machine))
        for machine, state in states.items():
            if machine not in self._machines:
                title = one_line(machine)
                self._machines[machine] = self._progress.add_task("", total=None, title=title, detail="")
                if not self._live:
                    click.echo(f"{title} is {state}", err=True)
            self._progress.update(self._machines[machine], description=state)

    @property
    def unfinished(self) -> list[Job]:
        """Those that it was told of and that have not ended, but for lists, of which it is told the entries."""
        return [job for job in self._unfinished.values() if not job.listed]

    def update(self, job: Job) -> None:
        self._unfinished[job.id] = job
        if job.ended:
            del self._unfinished[job.id]
        if job.state == "queued" and place_of(job.id)[1]:
            return  # of a list's entries only those in work
        title, detail = one_line(job.title), summed_up(job)
        if not self._live:
            if self._said.get(job.id) != job.state:
                self._said[job.id] = job.state
                click.echo(
                    " ".join(filter(None, (job.id, title, f"{job.state}:" if detail else job.state, detail))), err=True
                )
            return
        if job.ended:
            if job.id in self._tasks:
                self._progress.remove_task(self._tasks.pop(job.id))
            if job.state == "completed":
                self.warn(f"{title} completed: {detail}")
            return
        if job.id not in self._tasks:
            self._tasks[job.id] = self._progress.add_task("", total=1.0, title=job.id, detail="", visible=False)
        self._progress.update(
            self._tasks[job.id],
            description=job.state,
            completed=describe(job)[0],
            title=title or job.id,
            detail=detail,
            visible=True,
        )


class Segments:
    """Prints segments in their order, each as soon as all before it are there; of a retry from the start again.

    `titled`: jobs take turns, so a line with the title says whose segments follow.
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
    """The start and end of each line of a chunk, with its text."""
    if chunk.error:
        yield chunk.start, chunk.end, missing(one_line(chunk.error))
    for speech in chunk.unheard:
        yield speech.start, speech.end, missing(UNHEARD)
    for segment in chunk.segments:
        yield segment.start, segment.end, one_line(segment.text, _LINE)


def heading(job: Job) -> str:
    """The line above what belongs to one of several jobs, as `tail` has it for several files."""
    return f"==> {one_line(job.title)} ({job.id}) <=="
