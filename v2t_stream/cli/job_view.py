"""What people and scripts see of jobs."""

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from v2t_stream.cli.follow import heading
from v2t_stream.cli.output import Column, is_terminal, print_table, say
from v2t_stream.cli.timeline import lines
from v2t_stream.jobs.progress import shortfalls, summed_up
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line
from v2t_stream.units import date, length, moment, speed

_LONGEST: Final = 4000  # characters of a sentence that quotes what strangers sent
_NAME: Final = 12  # columns of the names in a summary
_COLUMNS: Final = (
    Column("job", cut="never"),
    Column("state"),
    Column("language"),
    Column("length", right=True),
    Column("took", right=True),
    Column("submitted"),
    Column("title"),
)


def print_summary(job: Job, facts: Mapping[str, Any], duration: float | None) -> None:
    """Print a line for each fact that is not empty. `duration`: of the media, in seconds."""
    for name, text in _lines(job, facts, duration):
        if text:
            say(one_line(text, _LONGEST), name=name, indent=_NAME)
    if job.listed:
        _print_children(job)


def _lines(job: Job, facts: Mapping[str, Any], duration: float | None) -> Iterator[tuple[str, str]]:
    """The names and texts of a summary."""
    for name in ("id", "state", "title", "source", "reason"):
        yield name, facts[name]
    if before := facts["done_before_as"]:
        yield "done before", f"as job {before}"
    yield "list", facts["parent"] or ""
    yield "language", facts["language"] or ""
    yield "length", length(duration) if duration else ""
    yield "speakers", ", ".join(f"{each['name']} {length(each['seconds'])}" for each in facts.get("speakers", ()))
    yield "progress", _progress(job, stalled=facts["eta"] is None and job.eta is not None)
    if job.started_at:
        yield "submitted", f"{date(job.started_at)} ({moment(job.started_at)})"
    if job.ended_at:
        yield "ended", f"{date(job.ended_at)}{_took(job, duration)}"
    if correction := facts.get("corrected"):
        at = f" on {date(correction['at'])}" if correction["at"] else ""
        yield "corrected", f"by {correction['by']}{at}; v2t job transcript {job.id} --original prints what was heard"
    yield "options", flags(facts["options"])
    yield "warning", facts["warning"] or ""
    for n, caveat in enumerate(facts["caveats"]):
        yield "" if n else "caveats", caveat
    yield "unread", ", ".join(facts["unread"])


def _progress(job: Job, *, stalled: bool) -> str:
    """How far it is; without a time for the end if it cannot go on by itself."""
    if job.ended or job.listed:
        return ""
    return f"chunks {len(job.chunks)}/{job.chunks_cut}" if stalled else summed_up(job)


def _took(job: Job, duration: float | None) -> str:
    if job.took is None:
        return ""
    did_it = job.state == "completed" and not (job.completed and job.completed.of)
    times = speed(duration / job.took) if did_it and duration and job.took > 0 else ""
    return f", after {length(job.took)}{f' ({times})' if times else ''}"


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
    counts = ", ".join(f"{count} {state}" for state, count in sorted(job.counts.items()))
    children = job.listed.children if job.listed else 0
    click.echo(f"{'entries':{_NAME}}{children}: {counts}")
    for child in job.parts:
        detail = one_line(child.reason) or summed_up(child)
        told = f"{one_line(child.title)}{f': {detail}' if detail else ''}"
        head = f"  {child.id}  {child.state}  "
        say(told, name=head, indent=len(head))


def print_jobs(jobs: Sequence[Job], durations: Mapping[str, float]) -> None:
    """A line for each job. `durations`: of jobs' media, by their ids, in seconds."""
    print_table(_COLUMNS, [_row(job, durations.get(job.id)) for job in jobs])


def _row(job: Job, duration: float | None) -> tuple[str, ...]:
    language = job.completed.language if job.completed else job.options.language
    when = "" if job.started_at is None else moment(job.started_at) if is_terminal() else date(job.started_at)
    title = one_line(job.title) or one_line(job.source)
    if job.listed:
        title = f"{title} ({job.counts['completed']} of {job.listed.children} completed)"
    return (
        job.id,
        f"{job.state}{'!' if any(map(shortfalls, job.parts)) else ''}",
        language or "",
        length(duration) if duration else "",
        "" if job.took is None else length(job.took),
        when,
        title,
    )
