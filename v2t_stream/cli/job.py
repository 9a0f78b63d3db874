"""`v2t job`: list, status, transcript, cancel, retry."""

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.transcript import Transcript
from v2t_stream.cli.follow import Bars, fleet_shown, follow, heading
from v2t_stream.cli.run import in_session
from v2t_stream.cli.timeline import lines
from v2t_stream.errors import Denied, ObjectMissing, SettingsError, StoreError, V2TError
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs import operations
from v2t_stream.jobs.assembly import assemble, last_prefix, stored
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import history, read
from v2t_stream.jobs.progress import clock, counted, describe, shortfalls, summed_up
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.timeline import timeline
from v2t_stream.models import problem
from v2t_stream.monitoring.waiting import warning
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.stalls import ADVICE, confirmed
from v2t_stream.text import one_line
from v2t_stream.topology.ids import child_id
from v2t_stream.topology.subjects import but_chunks

_LONGEST: Final = 4000  # characters of a sentence that quotes what strangers sent
_UNBOUNDED: Final = 100_000  # columns, where nobody's terminal is to be filled
_OF_STATUS: Final = {"chunks_done", "speed", "eta", "gaps", "children"}  # what `job list` leaves to `job status`
_OF_RECORD: Final = ("gaps", "unheard", "doubtful", "truncated", "sound")
_OF_SCRIPTS: Final = {"entries", "children", *_OF_RECORD}  # people get sentences
_OF_CHILDREN: Final = ("id", "state", "title", "reason")


@click.group()
def job() -> None:
    """List jobs, show one, read its transcript, cancel it, do it again."""


@job.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_(*, as_json: bool) -> None:
    """All jobs the broker remembers, the latest last; completed! is one whose transcript is not whole."""

    async def run(pipeline: Session) -> None:
        facts = await history(pipeline.connection, but_chunks())
        # The chunks, which are most of it, matter only where they are still coming.
        jobs = [part for job in fold_all(facts).values() for part in job.parts]
        running = [f"v2t.job.{job.id}.chunk.>" for job in jobs if job.downloaded and not job.ended]
        facts += await history(pipeline.connection, running)
        jobs = sorted(fold_all(facts).values(), key=lambda job: job.started_at or 0.0)
        parts = [part for job in jobs for part in (job, *job.children.values())]
        if unread := sorted(subject for part in parts for subject in part.unread):
            said = f"{counted(len(unread), 'fact')} cannot be read, the first on {one_line(unread[0])}"
            click.echo(f"v2t: {said}", err=True)
        if as_json:
            short = [{name: value for name, value in summary(job).items() if name not in _OF_STATUS} for job in jobs]
            click.echo(msgspec.json.encode(short).decode())
            return
        _print_table(jobs)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--timeline", "with_timeline", is_flag=True, help="Also where the time went, and which nodes did what.")
def status(job_id: str, *, as_json: bool, with_timeline: bool) -> None:
    """What is known of one job. The exit code is 1 where it failed."""

    async def run(pipeline: Session) -> None:
        state = await _job(pipeline, job_id)
        record, told = await _record(pipeline, state)
        facts = summary(state) | {
            "options": msgspec.to_builtins(state.options),  # without the defaults
            "warning": warning(state, await fleet(pipeline.connection)),
            **await _stalled(pipeline, state),
            "caveats": told,
            "unread": sorted(state.unread),
            **{name: msgspec.to_builtins(getattr(record, name)) for name in _OF_RECORD},
        }
        if as_json:
            click.echo(msgspec.json.encode(facts | ({"timeline": timeline(state)} if with_timeline else {})).decode())
        else:
            _print_summary(state, facts)
            if with_timeline:
                _print_timeline(state)
        if state.state == "failed":
            click.get_current_context().exit(1)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--format", "format_", default="txt", show_default=True, type=click.Choice(list(FORMATS)))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing.")
def transcript(job_id: str, format_: str, output: Path | None) -> None:
    """Print the transcript of a completed job; also of one that is forgotten by now."""

    async def run(pipeline: Session) -> None:
        state = await read(pipeline.connection, job_id)
        if state.listed:
            first, last = child_id(job_id, 1), child_id(job_id, state.listed.children)
            raise V2TError(f"job {job_id} is a list: read the transcripts of its entries, {first} to {last}")
        prefix = await _prefix(pipeline, state)
        data = None
        with contextlib.suppress(ObjectMissing):
            data = await pipeline.store.get(f"{prefix}.{format_}") if prefix else None
        if data is None:
            _check_known(state)
            why = state.reason or describe(state)[1]
            raise V2TError(f"job {job_id} has no transcript, it is {state.state}{f': {why}' if why else ''}")
        if output:
            try:
                output.write_bytes(data)
            except OSError as error:
                raise SettingsError(
                    f"{output} cannot be written ({error.strerror}): choose another --output"
                ) from error
        else:
            click.echo(data.decode(), nl=False)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """End a job: what waits vanishes, what runs stops, its media is removed."""

    async def run(pipeline: Session) -> None:
        await operations.cancel(pipeline.connection, pipeline.store, await _job(pipeline, job_id))
        click.echo(f"job {job_id} is cancelled")

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--chunk", type=int, help="Do this chunk again, whatever became of it.")
@click.option("--model", help="By this model; without --chunk, everything.")
def retry(job_id: str, chunk: int | None, model: str | None) -> None:
    """Do again what failed, or what is named, without downloading again."""

    async def run(pipeline: Session) -> None:
        if model and (reason := problem(model, None)):
            raise V2TError(reason)
        state = await _job(pipeline, job_id)
        if state.listed:
            if chunk is not None:
                raise V2TError(f"job {job_id} is a list: name the entry whose chunk it is, as {child_id(job_id, 1)}")
            entries = await operations.retry_list(pipeline.connection, state, model=model)
            click.echo(f"job {job_id} is tried again ({entries} of {len(state.children)} entries)")
        else:
            chunks = await operations.retry(pipeline.connection, state, chunk=chunk, model=model)
            click.echo(f"job {job_id} is tried again" + (f" ({chunks} chunks)" if chunks else ""))
        if pipeline.local:
            with Bars() as bars:
                async with fleet_shown(pipeline.connection, bars):
                    await follow(pipeline.connection, job_id, bars)

    in_session(run, work=True)


def summary(job: Job) -> dict[str, Any]:
    """A job for people and scripts; times are Unix seconds, durations seconds."""
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


async def _stalled(pipeline: Session, state: Job) -> dict[str, Any]:
    """Of a job, or an entry of a list, that cannot go on by itself: what to say of it in place of when it ends."""
    with contextlib.suppress(Denied):  # who may not look
        for id_, stall in (
            await confirmed(pipeline.connection, [job.id for job in state.parts if not job.ended])
        ).items():
            return {"eta": None, "warning": f"{id_} cannot go on by itself, as {stall.reason}: {ADVICE}"}
    return {}


def _print_summary(job: Job, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if name == "children":
            _print_children(job)
        elif name == "caveats":
            for n, caveat in enumerate(value):
                click.echo(f"{'' if n else name:12}{one_line(caveat, _LONGEST)}")
        elif name == "unread" and value:
            click.echo(f"{name:12}{one_line(', '.join(value))}")
        elif name == "done_before_as" and value:
            click.echo(f"done before as job {value}")
        elif name == "options" and value:
            click.echo(f"{name:12}{one_line(_flags(value))}")
        elif name not in _OF_SCRIPTS and value not in (None, "", [], {}):
            click.echo(f"{name:12}{one_line(str(value))}")


def _flags(options: dict[str, Any]) -> str:
    """As they would stand on the command line."""
    words: list[str] = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _print_timeline(job: Job) -> None:
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


def _print_table(jobs: list[Job]) -> None:
    rows = [("job", "state", "title", "language", "duration", "took")]
    for job in jobs:
        took = job.ended_at - job.started_at if job.ended_at and job.started_at else None
        language = job.completed.language if job.completed else job.options.language
        duration = clock(job.duration) if job.duration else ""
        state = f"{job.state}{'!' if any(map(shortfalls, job.parts)) else ''}"
        if job.listed:
            state += f" {job.counts['completed']}/{job.listed.children}"
        rows.append(
            (job.id, state, one_line(job.title), language or "", duration, "" if took is None else f"{took:.1f} s")
        )
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
    # Only the title gives way where the terminal is narrow.
    widths[2] = max(len("title"), min(widths[2], console.width - sum(widths) + widths[2] - 2 * len(widths)))
    table = Table(box=None)
    for name, width in zip(rows[0], widths, strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console.print(table)


async def _record(pipeline: Session, job: Job) -> tuple[Transcript, list[str]]:
    """The record of a job as far as it is done, and what it lacks; where another job did it before, that one's."""
    if not (job.completed and job.completed.of):
        record = assemble(job)
        return record, caveats(record, finished=job.completed is not None)
    try:
        record = await stored(pipeline.store, job.completed.transcript)
    except StoreError:  # it has expired, or cannot be reached now
        return assemble(job), shortfalls(job)
    return record, caveats(record)


async def _prefix(pipeline: Session, job: Job) -> str | None:
    """Where the transcript of a job lies; None while it has none, as while it is done again."""
    if job.completed:
        return job.completed.transcript
    return None if job.sequences else await last_prefix(pipeline.store, job.id)


async def _job(pipeline: Session, job_id: str) -> Job:
    """Raises V2TError where there is no such job."""
    state = await read(pipeline.connection, job_id)
    _check_known(state)
    return state


def _check_known(state: Job) -> None:
    if not state.sequences:
        raise V2TError(f"there is no job {state.id!r}: v2t job list shows those there are")
