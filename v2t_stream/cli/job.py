"""`v2t job`: status, transcript, cancel, retry; job_list, job_rm and job_edit have the others."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import click

from v2t_stream.cli import completion
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.files import Files, overwrite_option
from v2t_stream.cli.follow import follow
from v2t_stream.cli.job_edit import edit
from v2t_stream.cli.job_list import list_
from v2t_stream.cli.job_media import media
from v2t_stream.cli.job_rm import rm
from v2t_stream.cli.job_speakers import speakers
from v2t_stream.cli.job_view import print_summary, print_timeline
from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.cli.run import in_session
from v2t_stream.cli.subtitles import Shape, subtitle_options
from v2t_stream.cli.waiting import fleet_shown, patience
from v2t_stream.errors import ObjectMissing, V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.assembly import last_prefix, stored
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.progress import describe
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.timeline import timeline
from v2t_stream.models import problem
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.status import around, facts_of, record_of
from v2t_stream.settings import Settings
from v2t_stream.topology.ids import child_id
from v2t_stream.units import counted


@click.group()
def job() -> None:
    """List jobs, show one, print its transcript, correct it, cancel it, retry it, remove it."""


job.add_command(list_)
job.add_command(rm)
job.add_command(edit)
job.add_command(speakers)
job.add_command(media)


@job.command()
@completion.job_id()
@json_option
@click.option(
    "--timeline", "with_timeline", is_flag=True, help="Also show where the time went, and which nodes did what."
)
def status(job_id: str, *, as_json: bool, with_timeline: bool) -> None:
    """Show the state of one job. The exit code is 1 if it failed."""

    async def run(pipeline: Session) -> None:
        state = await _job(pipeline, job_id)
        record, told = await record_of(pipeline.store, state)
        facts = facts_of(state, record, told, await around(pipeline.connection, state))
        if as_json:
            echo_json(facts | ({"timeline": timeline(state)} if with_timeline else {}))
        else:
            print_summary(state, facts, state.duration or record.duration)
            if with_timeline:
                print_timeline(state)
        if state.state == "failed":
            click.get_current_context().exit(1)

    in_session(run)


@job.command()
@completion.job_id()
@click.option("--format", "format_", default="txt", show_default=True, type=click.Choice(list(FORMATS)))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing.")
@click.option("--original", is_flag=True, help="As the engines made it, even if somebody has corrected it.")
@subtitle_options
@overwrite_option
def transcript(
    job_id: str, format_: str, output: Path | None, *, original: bool, overwrite: bool, **options: Any
) -> None:
    """Print a transcript. This works even if the broker no longer remembers the job."""
    shape = Shape.of(options)
    shape.check([format_])

    async def run(pipeline: Session) -> None:
        state = await read(pipeline.connection, job_id)
        if state.listed:
            first, last = child_id(job_id, 1), child_id(job_id, state.listed.children)
            raise V2TError(f"job {job_id} is a list: print the transcripts of its entries, {first} to {last}")
        prefix = await _prefix(pipeline, state, original=original)
        text = None
        with contextlib.suppress(ObjectMissing):
            if prefix:
                text = await shape.written(pipeline.store, prefix, format_)
                needs_times = shape.needs_word_times([format_])
                if needs_times and (caveat := shape.caveat(await stored(pipeline.store, prefix), [format_])):
                    click.echo(f"v2t: {caveat}", err=True)
        if text is None:
            _check_known(state)
            why = state.reason or describe(state)[1]
            raise V2TError(f"job {job_id} has no transcript: it is {state.state}{f' ({why})' if why else ''}")
        if output:
            Files(Settings.from_environment().home, overwrite=overwrite).write_one(output, text.encode())
        else:
            click.echo(text, nl=False)

    in_session(run)


@job.command()
@completion.job_id()
def cancel(job_id: str) -> None:
    """Cancel a job. This drops its waiting work, stops its running work and removes its media."""

    async def run(pipeline: Session) -> None:
        await operations.cancel(pipeline.connection, pipeline.store, await _job(pipeline, job_id))
        click.echo(f"cancelled job {job_id}")

    in_session(run)


@job.command()
@completion.job_id()
@click.option("--chunk", type=int, help="Redo this chunk, whatever its result.")
@click.option("--model", help="Use this model; without --chunk, redo everything.", shell_complete=completion.models)
@click.option("--keep-correction", is_flag=True, help="Correct the new transcript as v2t job edit corrected the old.")
def retry(job_id: str, chunk: int | None, model: str | None, *, keep_correction: bool) -> None:
    """Retry what failed. Or redo a chunk, or everything with another model; nothing is downloaded again."""

    async def run(pipeline: Session) -> None:
        if model and (reason := problem(model, None)):
            raise V2TError(reason)
        state = await _job(pipeline, job_id)
        if state.listed:
            if chunk is not None or keep_correction:
                what = "the chunk" if chunk is not None else "the correction"
                raise V2TError(f"job {job_id} is a list: name the entry that has {what}, such as {child_id(job_id, 1)}")
            entries = await operations.retry_list(pipeline.connection, state, model=model)
            click.echo(f"retrying job {job_id} ({entries} of {len(state.children)} entries)")
        else:
            chunks = await operations.retry(
                pipeline.connection, state, chunk=chunk, model=model, keep_correction=keep_correction
            )
            click.echo(f"retrying job {job_id}" + (f" ({counted(chunks, 'chunk')})" if chunks else ""))
        if pipeline.local:
            try:
                with Bars() as bars:
                    async with fleet_shown(pipeline.connection, bars, patience(pipeline)):
                        await follow(pipeline.connection, job_id, bars)
            except asyncio.CancelledError:  # cancelling the job would remove the media that a retry needs
                click.echo(f"v2t: the retry of job {job_id} goes on with the next command here", err=True)
                raise

    in_session(run, work=True)


async def _prefix(pipeline: Session, job: Job, *, original: bool) -> str | None:
    """The prefix of the job's transcript in the store; None while it has none, for example during a retry."""
    if job.completed:
        return job.corrected.of if original and job.corrected else job.transcript
    return None if job.sequences else await last_prefix(pipeline.store, job.id, original=original)


async def _job(pipeline: Session, job_id: str) -> Job:
    """Raises V2TError if there is no such job."""
    state = await read(pipeline.connection, job_id)
    _check_known(state)
    return state


def _check_known(state: Job) -> None:
    if not state.sequences or state.removed:
        raise V2TError(f"there is no job {state.id!r}: v2t job list shows all jobs")
