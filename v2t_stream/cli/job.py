"""`v2t job`: list, status, transcript, cancel, retry."""

import contextlib
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from schemas.transcript import Transcript
from v2t_stream.cli.bars import Bars, fleet_shown
from v2t_stream.cli.files import Files, overwrite_option
from v2t_stream.cli.follow import follow
from v2t_stream.cli.job_view import OF_RECORD, print_summary, print_table, print_timeline, summary
from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.cli.run import in_session
from v2t_stream.errors import Denied, ObjectMissing, StoreError, V2TError
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs import operations
from v2t_stream.jobs.assembly import assemble, last_prefix, stored
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import history, read
from v2t_stream.jobs.progress import counted, describe, shortfalls
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.timeline import timeline
from v2t_stream.models import problem
from v2t_stream.monitoring.waiting import warning
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.stalls import ADVICE, confirmed
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.topology.ids import child_id
from v2t_stream.topology.subjects import but_chunks, results_of

_OF_STATUS: Final = {"chunks_done", "speed", "eta", "gaps", "children"}  # only `job status` shows these


@click.group()
def job() -> None:
    """List jobs, show one, print its transcript, cancel it, retry it."""


@job.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all jobs. The latest comes last; completed! marks an incomplete transcript."""

    async def run(pipeline: Session) -> None:
        facts = await history(pipeline.connection, but_chunks())
        # Chunks are most of the history, and matter only for jobs that still get some.
        jobs = [part for job in fold_all(facts).values() for part in job.parts]
        running = [results_of(job.id) for job in jobs if job.downloaded and not job.ended]
        facts += await history(pipeline.connection, running)
        jobs = sorted(fold_all(facts).values(), key=lambda job: job.started_at or 0.0)
        parts = [part for job in jobs for part in (job, *job.children.values())]
        if unread := sorted(subject for part in parts for subject in part.unread):
            said = f"{counted(len(unread), 'fact')} cannot be read, the first on {one_line(unread[0])}"
            click.echo(f"v2t: {said}", err=True)
        if as_json:
            short = [{name: value for name, value in summary(job).items() if name not in _OF_STATUS} for job in jobs]
            echo_json(short)
            return
        print_table(jobs)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
@click.option(
    "--timeline", "with_timeline", is_flag=True, help="Also show where the time went, and which nodes did what."
)
def status(job_id: str, *, as_json: bool, with_timeline: bool) -> None:
    """Show the state of one job. The exit code is 1 if it failed."""

    async def run(pipeline: Session) -> None:
        state = await _job(pipeline, job_id)
        record, told = await _record(pipeline, state)
        facts = summary(state) | {
            "options": msgspec.to_builtins(state.options),  # without the defaults
            "warning": warning(state, await fleet(pipeline.connection)),
            **await _stalled(pipeline, state),
            "caveats": told,
            "unread": sorted(state.unread),
            **{name: msgspec.to_builtins(getattr(record, name)) for name in OF_RECORD},
        }
        if as_json:
            echo_json(facts | ({"timeline": timeline(state)} if with_timeline else {}))
        else:
            print_summary(state, facts)
            if with_timeline:
                print_timeline(state)
        if state.state == "failed":
            click.get_current_context().exit(1)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--format", "format_", default="txt", show_default=True, type=click.Choice(list(FORMATS)))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing.")
@overwrite_option
def transcript(job_id: str, format_: str, output: Path | None, *, overwrite: bool) -> None:
    """Print a transcript. This works even if the broker no longer remembers the job."""

    async def run(pipeline: Session) -> None:
        state = await read(pipeline.connection, job_id)
        if state.listed:
            first, last = child_id(job_id, 1), child_id(job_id, state.listed.children)
            raise V2TError(f"job {job_id} is a list: print the transcripts of its entries, {first} to {last}")
        prefix = await _prefix(pipeline, state)
        data = None
        with contextlib.suppress(ObjectMissing):
            data = await pipeline.store.get(f"{prefix}.{format_}") if prefix else None
        if data is None:
            _check_known(state)
            why = state.reason or describe(state)[1]
            raise V2TError(f"job {job_id} has no transcript: it is {state.state}{f' ({why})' if why else ''}")
        if output:
            Files(Settings.from_environment().home, overwrite=overwrite).write_one(output, data)
        else:
            click.echo(data.decode(), nl=False)

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """Cancel a job. This drops its waiting work, stops its running work and removes its media."""

    async def run(pipeline: Session) -> None:
        await operations.cancel(pipeline.connection, pipeline.store, await _job(pipeline, job_id))
        click.echo(f"cancelled job {job_id}")

    in_session(run)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--chunk", type=int, help="Redo this chunk, whatever its result.")
@click.option("--model", help="Use this model; without --chunk, redo everything.")
def retry(job_id: str, chunk: int | None, model: str | None) -> None:
    """Retry what failed. Or redo a chunk, or everything with another model; nothing is downloaded again."""

    async def run(pipeline: Session) -> None:
        if model and (reason := problem(model, None)):
            raise V2TError(reason)
        state = await _job(pipeline, job_id)
        if state.listed:
            if chunk is not None:
                raise V2TError(
                    f"job {job_id} is a list: name the entry that has the chunk, such as {child_id(job_id, 1)}"
                )
            entries = await operations.retry_list(pipeline.connection, state, model=model)
            click.echo(f"retrying job {job_id} ({entries} of {len(state.children)} entries)")
        else:
            chunks = await operations.retry(pipeline.connection, state, chunk=chunk, model=model)
            click.echo(f"retrying job {job_id}" + (f" ({chunks} chunks)" if chunks else ""))
        if pipeline.local:
            with Bars() as bars:
                async with fleet_shown(pipeline.connection, bars):
                    await follow(pipeline.connection, job_id, bars)

    in_session(run, work=True)


async def _stalled(pipeline: Session, state: Job) -> dict[str, Any]:
    """If the job, or an entry of a list, cannot go on by itself: a warning in place of its remaining time."""
    with contextlib.suppress(Denied):  # some roles may not look
        for id_, stall in (
            await confirmed(pipeline.connection, [job.id for job in state.parts if not job.ended])
        ).items():
            return {"eta": None, "warning": f"{id_} cannot go on by itself, because {stall.reason}: {ADVICE}"}
    return {}


async def _record(pipeline: Session, job: Job) -> tuple[Transcript, list[str]]:
    """A job's record so far, and what it lacks; the earlier job's record if one had done the same."""
    if not (job.completed and job.completed.of):
        record = assemble(job)
        return record, caveats(record, finished=job.completed is not None)
    try:
        record = await stored(pipeline.store, job.completed.transcript)
    except StoreError:  # the record has expired, or the store cannot be reached
        return assemble(job), shortfalls(job)
    return record, caveats(record)


async def _prefix(pipeline: Session, job: Job) -> str | None:
    """The prefix of the job's transcript in the store; None while it has none, for example during a retry."""
    if job.completed:
        return job.completed.transcript
    return None if job.sequences else await last_prefix(pipeline.store, job.id)


async def _job(pipeline: Session, job_id: str) -> Job:
    """Raises V2TError if there is no such job."""
    state = await read(pipeline.connection, job_id)
    _check_known(state)
    return state


def _check_known(state: Job) -> None:
    if not state.sequences:
        raise V2TError(f"there is no job {state.id!r}: v2t job list shows all jobs")
