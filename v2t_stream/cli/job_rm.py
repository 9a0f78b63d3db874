"""`v2t job rm`: remove jobs for good."""

import sys

import click

from v2t_stream.cli.completion import job_id
from v2t_stream.cli.run import in_session
from v2t_stream.errors import V2TError
from v2t_stream.jobs import removal
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.superseded import transcripts_of
from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.units import counted


@click.command()
@job_id("job_ids", metavar="ID…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(job_ids: tuple[str, ...], *, yes: bool) -> None:
    """Remove jobs that have ended, with their media and transcripts, for good.

    A list is removed with its entries. A transcript that another job shows as its own ("done before as") stays for that
    job. Files in your folders, and beside uploads in a bucket, stay too.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("this removes jobs for good: confirm it with --yes")
    wanted, settings = list(dict.fromkeys(job_ids)), Settings.from_environment()

    async def remove(pipeline: Session) -> None:
        for job in await _removable(pipeline, wanted):
            kept = await removal.remove(pipeline.connection, pipeline.store, settings, job)
            why = "; its transcript stays for the jobs that point to it" if kept else ""
            click.echo(f"removed job {job.id}{why}")

    if not yes:
        _ask(wanted)
    in_session(remove)


def _ask(wanted: list[str]) -> None:
    """Raises click.Abort unless the user agrees. Not in a session, whose loop would keep Ctrl-C for itself."""
    jobs: list[Job] = []

    async def look(pipeline: Session) -> None:
        jobs.extend(await _removable(pipeline, wanted))

    in_session(look)
    for job in jobs:
        what = f"a list of {counted(len(job.parts), 'job')}" if job.listed else job.state
        click.echo(f"{job.id}  {one_line(job.title) or 'without a title'} ({what})", err=True)
    whose = "its transcript" if len(jobs) == 1 else "their transcripts"
    try:
        agreed = click.confirm(f"remove {counted(len(jobs), 'job')} and {whose} for good?", err=True)
    except click.Abort:
        click.echo(err=True)  # the prompt stands on a line that Ctrl-C has not ended
        raise
    if not agreed:
        raise click.Abort


async def _removable(pipeline: Session, wanted: list[str]) -> list[Job]:
    """Raises V2TError if nothing is left of one of these jobs, or if it has not ended."""
    jobs = [await read(pipeline.connection, each) for each in wanted]
    for job in jobs:
        if not job.sequences and not await transcripts_of(pipeline.store, job.id):
            raise V2TError(f"there is no job {job.id!r}: v2t job list shows all jobs")
        removal.check(job)
    return jobs
