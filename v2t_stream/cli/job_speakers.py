"""`v2t job speakers`: who speaks in a job, and their names."""

import unicodedata
from collections.abc import Collection
from typing import Final

import click
from msgspec.structs import replace

from schemas.events import Named
from schemas.transcript import Transcript
from v2t_stream.cli.completion import job_id
from v2t_stream.cli.job_edit import store_correction, transcribed
from v2t_stream.cli.output import Column, echo_json, json_option, print_table
from v2t_stream.cli.run import in_session
from v2t_stream.errors import V2TError
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import spoke
from v2t_stream.runtime.session import Session
from v2t_stream.text import HARMFUL, quoted
from v2t_stream.units import length

_LONGEST: Final = 60  # letters of a name
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
            record = await _rename(pipeline, job, record, changes)
        if as_json:
            echo_json(spoke(record))
        else:
            rows = [(each["label"], each["name"], length(each["seconds"])) for each in spoke(record)]
            print_table(_COLUMNS, rows)

    in_session(run)


async def heard(pipeline: Session, wanted: str, labels: Collection[str]) -> tuple[Job, Transcript]:
    """The job and its transcript, which has speakers, these among them. Raises V2TError."""
    job, record = await transcribed(pipeline, wanted)
    if not record.speakers:
        raise V2TError(f"job {wanted} was not asked who speaks: submit it again with --speakers")
    there = [each.label for each in record.speakers]
    if unknown := [label for label in labels if label not in there]:
        raise V2TError(f"job {job.id} has no speaker {quoted(unknown[0])}: it has {', '.join(there)}")
    return job, record


async def _rename(pipeline: Session, job: Job, record: Transcript, changes: dict[str, str]) -> Transcript:
    """Store the names for this transcript, and for those of later retries."""
    people = tuple(replace(each, name=changes.get(each.label, each.name)) for each in record.speakers)
    fact = Named(job=job.id, people=tuple(each for each in people if each.name))
    # A retry that begins from here on has the names, even if this command ends before the transcript has them.
    if not await pipeline.connection.publish(fact, replaces=job.sequences.get(fact.subject, 0)):
        raise V2TError(f"somebody else has named the speakers of job {job.id} meanwhile: look at them and try again")
    record = replace(record, speakers=people)
    await store_correction(pipeline, job, record)
    return record


def _change(text: str) -> tuple[str, str]:
    label, separator, name = (part.strip() for part in text.partition("="))
    if not label or not separator:
        raise click.UsageError(f"--name {quoted(text)} says nobody's name: write it as in --name A=Ann")
    return label, person(name)


def person(name: str) -> str:
    """A name as it is kept, however it was typed. Raises click.UsageError if it is none."""
    name = unicodedata.normalize("NFC", name.strip())
    if len(name) > _LONGEST or HARMFUL.search(name):
        raise click.UsageError(f"the name {quoted(name)} is not a line of at most {_LONGEST} letters")
    return name
