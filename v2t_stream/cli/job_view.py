"""What people and scripts see of jobs."""

import shlex
import shutil
import sys
from typing import Any, Final

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from v2t_stream.cli.follow import heading
from v2t_stream.cli.timeline import lines
from v2t_stream.jobs.progress import clock, shortfalls, summed_up
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line

OF_RECORD: Final = ("gaps", "unheard", "doubtful", "truncated", "sound")  # parts of a transcript's record
_LONGEST: Final = 4000  # characters of a sentence that quotes what strangers sent
_PIPED: Final = 160  # columns, if the output is not a terminal: one long title must not widen every row
_FOR_SCRIPTS: Final = {"entries", "children", *OF_RECORD}  # people get sentences instead
_OF_CHILDREN: Final = ("id", "state", "title", "reason")
_HEADER: Final = ("job", "state", "title", "language", "duration", "took")


def summary(job: Job) -> dict[str, Any]:
    """A job for people and scripts; times are in Unix seconds, durations in seconds."""
    return {
        "id": job.id,
        "state": job.state,
        "title": job.title,
        "source": job.source,
        "reason": job.reason,
        "done_before_as": job.completed.of if job.completed else "",
        "parent": job.submitted.parent if job.submitted else None,
        "entries": dict(job.counts) or None,
        "children": [{name: getattr(child, name) for name in _OF_CHILDREN} for child in job.parts if child is not job],
        "language": job.completed.language if job.completed else job.options.language,
        "duration": job.duration,
        "decoded": job.decoded,
        "chunks_cut": job.chunks_cut,
        "chunks_done": len(job.chunks),
        "speed": job.speed,
        "eta": job.eta,
        "gaps": [msgspec.to_builtins(gap) for gap in job.gaps],
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def print_summary(job: Job, facts: dict[str, Any]) -> None:
    """Print a line for each fact that is not empty."""
    for name, value in facts.items():
        if name == "children":
            _print_children(job)
        elif name == "caveats":
            for n, caveat in enumerate(value):
                click.echo(f"{'' if n else name:12}{one_line(caveat, _LONGEST)}")
        elif name not in _FOR_SCRIPTS and value not in (None, "", [], {}):
            click.echo(_line(name, value))


def _line(name: str, value: Any) -> str:
    match name:
        case "done_before_as":
            return f"done before as job {value}"
        case "unread":
            return f"{name:12}{one_line(', '.join(value))}"
        case "options":
            return f"{name:12}{one_line(flags(value))}"
    return f"{name:12}{one_line(str(value))}"


def flags(options: dict[str, Any]) -> str:
    """As they would be written on the command line."""
    words: list[str] = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def print_timeline(job: Job) -> None:
    for part in job.parts:
        click.echo(f"\n{heading(part)}" if job.listed else "")
        for line in lines(part, shutil.get_terminal_size().columns):
            click.echo(line)


def _print_children(job: Job) -> None:
    if not job.listed:
        return
    counts = ", ".join(f"{count} {state}" for state, count in sorted(job.counts.items()))
    click.echo(f"{'entries':12}{job.listed.children}: {counts}")
    for child in job.parts:
        detail = one_line(child.reason) or summed_up(child)
        click.echo(f"  {child.id}  {child.state}  {one_line(child.title)}{f': {detail}' if detail else ''}")


def print_table(jobs: list[Job]) -> None:
    rows = [_HEADER, *map(_row, jobs)]
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    console = Console(width=None if sys.stdout.isatty() else _PIPED)
    # Where not all fits, only the title shrinks.
    widths[2] = max(len("title"), min(widths[2], console.width - sum(widths) + widths[2] - 2 * len(widths)))
    table = Table(box=None)
    for name, width in zip(_HEADER, widths, strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console.print(table)


def _row(job: Job) -> tuple[str, ...]:
    took = job.ended_at - job.started_at if job.ended_at and job.started_at else None
    language = job.completed.language if job.completed else job.options.language
    state = f"{job.state}{'!' if any(map(shortfalls, job.parts)) else ''}"
    if job.listed:
        state += f" {job.counts['completed']}/{job.listed.children}"
    return (
        job.id,
        state,
        one_line(job.title),
        language or "",
        clock(job.duration) if job.duration else "",
        "" if took is None else f"{took:.1f} s",
    )
