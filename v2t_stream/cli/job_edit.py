"""`v2t job edit`: correct a transcript in an editor."""

import tempfile
from pathlib import Path

import click

from schemas.transcript import Transcript
from v2t_stream.cli.author import author
from v2t_stream.cli.completion import job_id
from v2t_stream.cli.run import in_session
from v2t_stream.errors import ObjectMissing, SettingsError, V2TError
from v2t_stream.host import signals
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.copies import recopy
from v2t_stream.jobs.corrections import correct
from v2t_stream.jobs.edited import corrected, form
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings
from v2t_stream.topology.ids import child_id


@click.command()
@job_id("wanted")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the corrected text from this file instead of opening an editor.",
)
def edit(wanted: str, file: Path | None) -> None:
    """Correct a transcript in $VISUAL or $EDITOR, a line for each segment.

    Unchanged words keep their times. Every reader then gets the corrected transcript, and v2t job transcript --original
    the one before. A retry makes a new transcript, which has your corrections only with --keep-correction.
    """
    found: list[tuple[Job, Transcript]] = []

    async def load(pipeline: Session) -> None:
        found.append(await transcribed(pipeline, wanted))

    async def save(pipeline: Session) -> None:
        # `job` is as it was when the editing began, and that is what the correction is for.
        await store_correction(pipeline, job, record)
        click.echo(f"corrected job {wanted}: v2t job transcript {wanted} prints it")

    in_session(load)  # two sessions, because somebody may edit for hours
    job, before = found[0]
    path = file or _edited(before, wanted)
    try:
        record = corrected(before, _read(path))
        if record == before:
            click.echo(f"nothing was changed in the transcript of job {wanted}", err=True)
        else:
            in_session(save)
    except V2TError as error:
        if file:
            raise
        raise type(error)(f"{error} (your text is kept in {path}: v2t job edit {wanted} --file takes it)") from error
    if not file:
        path.unlink()
        path.parent.rmdir()


async def transcribed(pipeline: Session, wanted: str) -> tuple[Job, Transcript]:
    """A completed job and the transcript of it that counts. Raises V2TError if there is none."""
    job = await _completed(pipeline, wanted)
    try:
        return job, await stored(pipeline.store, job.transcript)
    except ObjectMissing as error:
        raise V2TError(f"the transcript of job {wanted} has expired: v2t job retry makes a new one") from error


async def store_correction(pipeline: Session, job: Job, record: Transcript) -> None:
    """Let `record` count as the job's transcript, by this user, also under the path of an upload. Raises V2TError."""
    settings = Settings.from_environment()
    await correct(pipeline.connection, pipeline.store, job, record, by=author())
    await recopy(pipeline.connection, pipeline.store, settings, job, record)


def _edited(record: Transcript, wanted: str) -> Path:
    """A file with the text that the user has edited."""
    path = Path(tempfile.mkdtemp(prefix="v2t-edit-")) / f"{wanted}.txt"
    path.write_text(form(record), encoding="utf-8")
    with signals.left_to_child():
        click.edit(filename=str(path))
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text: correct it, or edit the job again") from error


async def _completed(pipeline: Session, wanted: str) -> Job:
    """Raises V2TError if the job has no transcript."""
    job = await read(pipeline.connection, wanted)
    if not job.sequences or job.removed:
        raise V2TError(f"there is no job {wanted!r}: v2t job list shows all jobs")
    if job.listed:
        raise V2TError(f"job {wanted} is a list: name one of its entries, such as {child_id(wanted, 1)}")
    if job.state != "completed":
        raise V2TError(f"job {wanted} has no transcript to correct: it is {job.state}")
    return job
