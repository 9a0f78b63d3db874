"""`v2t job media`: the media of a job, to listen to it."""

import contextlib
import shutil
import sys
from pathlib import Path

import click

from v2t_stream.cli import completion
from v2t_stream.cli.output import unwritable
from v2t_stream.cli.run import in_session
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.host.scratch import scratch
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.media import fetch
from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings
from v2t_stream.topology.ids import child_id


@click.command()
@completion.job_id()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of to a pipe.")
def media(job_id: str, output: Path | None) -> None:
    """Write the media of a job, as long as it is stored: v2t job media ID | ffplay cache:pipe:0."""
    if output is None and sys.stdout.isatty():
        raise SettingsError("media is not for reading: pipe it to a player, or pass --output FILE")
    if output and output.exists():
        raise SettingsError(f"{output} exists: name another --output")

    async def run(pipeline: Session) -> None:
        job = await read(pipeline.connection, job_id)
        if not job.sequences:
            raise V2TError(f"there is no job {job_id!r}: v2t job list shows all jobs")
        if job.listed:
            raise V2TError(f"job {job_id} is a list: name one of its entries, such as {child_id(job_id, 1)}")
        folder = scratch(Settings.from_environment().home, "media")
        try:
            await fetch(pipeline.store, job, folder / "media")
            _hand_over(folder / "media", output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    in_session(run)


def _hand_over(path: Path, output: Path | None) -> None:
    if output:
        try:
            shutil.move(path, output)
        except OSError as error:
            raise unwritable(output, error) from error
        return
    with path.open("rb") as file, contextlib.suppress(BrokenPipeError):  # the player has heard enough
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
