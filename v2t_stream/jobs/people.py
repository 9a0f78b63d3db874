"""The names of the people who speak in a job."""

import unicodedata
from collections.abc import Collection, Mapping
from typing import Final

from msgspec.structs import replace

from schemas.events import Named
from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.jobs.state import Job
from v2t_stream.text import HARMFUL, quoted

_LONGEST: Final = 60  # letters of a name


def person(name: str) -> str:
    """A name as it is kept, however it was typed. Raises SettingsError if it is none."""
    name = unicodedata.normalize("NFC", name.strip())
    if len(name) > _LONGEST or HARMFUL.search(name):
        raise SettingsError(f"the name {quoted(name)} is not a line of at most {_LONGEST} letters")
    return name


def check(job: Job, record: Transcript, labels: Collection[str]) -> None:
    """Raises V2TError unless the transcript of the job has these speakers."""
    if not record.speakers:
        raise V2TError(f"job {job.id} was not asked who speaks: submit it again with --speakers")
    there = [each.label for each in record.speakers]
    if unknown := [label for label in labels if label not in there]:
        raise V2TError(f"job {job.id} has no speaker {quoted(unknown[0])}: it has {', '.join(there)}")


async def renamed(connection: Connection, job: Job, record: Transcript, names: Mapping[str, str]) -> Transcript:
    """Name speakers by their labels, for this transcript and those of later retries; an empty name takes one away.

    Returns the record with the names, which the caller stores as a correction. Raises V2TError if somebody else has
    named them since the job was read.
    """
    people = tuple(replace(each, name=names.get(each.label, each.name)) for each in record.speakers)
    fact = Named(job=job.id, people=tuple(each for each in people if each.name))
    # A retry that begins from here on has the names, even if we end before the transcript has them.
    if not await connection.publish(fact, replaces=job.sequences.get(fact.subject, 0)):
        raise V2TError(f"somebody else has named the speakers of job {job.id} meanwhile: look at them and try again")
    return replace(record, speakers=people)
