"""Progress on stderr: of jobs, and of the machines that work on them."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.progress import describe, is_queued, summed_up
from v2t_stream.jobs.state import Job
from v2t_stream.text import HARMFUL, one_line
from v2t_stream.topology.ids import place_of
from v2t_stream.units import counted

_STEPS: Final = 10  # lines about one fetch, without a terminal


class Live:
    """Bars that are drawn while the block runs, if stderr is a terminal."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, **options)

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()


class Bars(Live):
    """A line on stderr for each running job: its state, progress, speed and remaining time.

    If stderr is not a terminal, a line for each change of state.
    """

    def __init__(self) -> None:
        title = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.fields[title]}", markup=False, table_column=title),
            TextColumn("{task.description}", style="bold", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)),
            expand=True,
            transient=True,  # a job that ends leaves a line of its own
            redirect_stdout=False,  # it would send the transcript to stderr
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._machines: dict[str, TaskID] = {}
        self._steps: dict[str, int] = {}
        self._unfinished: dict[str, Job] = {}
        self._ahead: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print to stdout without breaking the bars."""
        if self._live and sys.stdout.isatty():
            self._console.print(Text(HARMFUL.sub("\ufffd", text)), soft_wrap=True)
        else:
            click.echo(text)

    def warn(self, text: str) -> None:
        """Print to stderr without breaking the bars, wrapped between words."""
        if self._live:
            self._console.print(Text(HARMFUL.sub("\ufffd", text)))
        else:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def step(self, title: str, name: str) -> Iterator[Callable[[str], None]]:
        """Show `name` for `title` while the block runs, before there is a job to show; the block may tell how far."""
        task = self._progress.add_task(name, total=None, title=one_line(title), detail="") if self._live else None

        def tell(detail: str) -> None:
            if task is not None:
                self._progress.update(task, detail=detail)

        try:
            yield tell
        finally:
            if task is not None:
                self._progress.remove_task(task)

    def tell(self, fetching: dict[str, NodeInfo]) -> None:
        """Show the models that these machines fetch, by name, instead of what was shown before."""
        for machine in self._machines.keys() - fetching.keys():
            self._progress.remove_task(self._machines.pop(machine))
            self._steps.pop(machine, None)
        for machine, info in fetching.items():
            title, step = one_line(machine), int(info.fetched * _STEPS)
            if machine not in self._machines:
                total = 1.0 if info.fetched else None  # an older release does not say how much has arrived
                self._machines[machine] = self._progress.add_task("", total=total, title=title, detail="")
            if not self._live and self._steps.get(machine) != step:
                self._steps[machine] = step
                click.echo(f"{title} is {one_line(info.state)}", err=True)
            self._progress.update(self._machines[machine], description=one_line(info.state), completed=info.fetched)

    def place(self, ahead: dict[str, int]) -> None:
        """Show how many jobs come before these jobs, by id."""
        behind = {job: count for job, count in ahead.items() if count}
        if behind and not self._ahead and not self._live:
            waiting = counted(len(behind), "job waits", "jobs wait")
            click.echo(f"v2t: {waiting} in the queue, behind {counted(max(behind.values()), 'other job')}", err=True)
        moved = {job for job in {**self._ahead, **behind} if self._ahead.get(job) != behind.get(job)}
        self._ahead = behind
        for job in [self._unfinished[job] for job in moved if job in self._unfinished]:
            self.update(job)

    @property
    def unfinished(self) -> list[Job]:
        """The jobs shown that have not ended; for a list, only its entries."""
        return [job for job in self._unfinished.values() if not job.listed]

    def update(self, job: Job) -> None:
        self._unfinished[job.id] = job
        if job.ended:
            del self._unfinished[job.id]
        if job.state == "queued" and place_of(job.id)[1]:
            return  # show only those entries of a list that are in progress
        title, detail = one_line(job.title), summed_up(job)
        if (before := self._ahead.get(job.id)) and is_queued(job):
            detail += f" ({counted(before, 'job')} ahead)"
        if not self._live:
            if job.sequences and self._said.get(job.id) != job.state:
                self._said[job.id] = job.state
                click.echo(
                    " ".join(filter(None, (job.id, title, f"{job.state}:" if detail else job.state, detail))), err=True
                )
            return
        if job.ended:
            self._end(job, f"{title} completed: {detail}")
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

    def _end(self, job: Job, said: str) -> None:
        if job.id in self._tasks:
            self._progress.remove_task(self._tasks.pop(job.id))
        if job.state == "completed":
            self.warn(said)
