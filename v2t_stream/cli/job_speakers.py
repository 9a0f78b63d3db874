"""`v2t job speakers`: who speaks in a job, and their names."""

from collections.abc import Collection
from typing import Final

import click

from schemas.transcript import Transcript
from v2t_stream.cli.completion import job_id
from v2t_stream.cli.job_edit import store_correction, transcribed
from v2t_stream.cli.output import Column, echo_json, json_option, print_table
from v2t_stream.cli.run import in_session
from v2t_stream.errors import SettingsError
from v2t_stream.jobs import people
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import spoke
from v2t_stream.runtime.session import Session
from v2t_stream.text import quoted
from v2t_stream.units import length

_COLUMNS: Final = (Column("label"), Column("name"), Column("speaks", right=True))


@click.command()
@job_id("wanted")
@click.option(
    "--name", "names", multiple=True, metavar="LABEL=NAME", help="Say who it is, as in A=Ann; A= takes the name away."
)
@json_option
def speakers(wanted: str, names: tuple[str, ...], *, as_json: bool) -> None:
    """List who speaks in a job, or name them. Every format then has the names, and so has a retry."""
    changes = dict(map(_change, names))

    async def run(pipeline: Session) -> None:
        job, record = await heard(pipeline, wanted, changes)
        if changes:
            record = await people.renamed(pipeline.connection, job, record, changes)
            await store_correction(pipeline, job, record)
        if as_json:
            echo_json(spoke(record))
        else:
            rows = [(each["label"], each["name"], length(each["seconds"])) for each in spoke(record)]
            print_table(_COLUMNS, rows)

    in_session(run)


async def heard(pipeline: Session, wanted: str, labels: Collection[str]) -> tuple[Job, Transcript]:
    """The job and its transcript, which has speakers, these among them. Raises V2TError."""
    job, record = await transcribed(pipeline, wanted)
    people.check(job, record, labels)
    return job, record


def _change(text: str) -> tuple[str, str]:
    label, separator, name = (part.strip() for part in text.partition("="))
    if not label or not separator:
        raise click.UsageError(f"--name {quoted(text)} says nobody's name: write it as in --name A=Ann")
    return label, person(name)


def person(name: str) -> str:
    """A name as it is kept, however it was typed. Raises click.UsageError if it is none."""
    try:
        return people.person(name)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
