"""`v2t voices`: people whom jobs with `--voices` name by how they sound."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import click

from schemas.voices import KnownVoice
from v2t_stream.cli import completion
from v2t_stream.cli.author import author
from v2t_stream.cli.job_speakers import heard, person
from v2t_stream.cli.output import Column, echo_json, json_option, print_table, say
from v2t_stream.cli.run import in_session
from v2t_stream.errors import V2TError
from v2t_stream.jobs import voices as known
from v2t_stream.runtime.session import Session
from v2t_stream.speakers.embedding import MODEL
from v2t_stream.speakers.naming import resembling
from v2t_stream.text import quoted
from v2t_stream.units import counted

_COLUMNS: Final = (Column("name"), Column("voices", right=True), Column("from"), Column("added by"))


@click.group()
def voices() -> None:
    """Keep the voices of people, whom later jobs can name: --speakers --voices."""


@voices.command()
@click.argument("name")
@click.option("--job", required=True, metavar="ID", shell_complete=completion.jobs, help="A job in which they speak.")
@click.option("--speaker", required=True, metavar="LABEL", help="Who it is there, such as A: v2t job speakers ID.")
def add(name: str, job: str, speaker: str) -> None:
    """Keep the voice of a speaker of a job under a name. A person may have several, such as on a telephone.

    A voice is biometric data: ask the person first.
    """
    name = person(name)
    if not name:
        raise click.UsageError("the name is empty: give the name of the person")

    async def run(pipeline: Session) -> None:
        state, record = await heard(pipeline, job, [speaker])
        voice = next(each.voice for each in record.speakers if each.label == speaker)
        mine = KnownVoice(name=name, voice=voice, model=MODEL, job=state.id, speaker=speaker, by=author())
        same = (name, job, speaker)
        library = await known.library(pipeline.store)
        others = [each for each in library if (each.name, each.job, each.speaker) != same]
        await known.add(pipeline.store, mine)
        say(f"added the voice of {name}: where jobs with --speakers --voices hear it, they write the name")
        for doubt in _doubts(mine, others):
            say(doubt, name="v2t: ", indent=len("v2t: "), err=True)

    in_session(run)


@voices.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List whose voices are known, and from which jobs."""

    async def run(pipeline: Session) -> None:
        people = _people(await known.library(pipeline.store))
        if as_json:
            echo_json(people)
        else:
            print_table(_COLUMNS, map(_cells, people))

    in_session(run)


@voices.command()
@click.argument("name")
def rm(name: str) -> None:
    """Remove all voices of a person. Later jobs do not have the name, and transcripts that have it keep it."""

    async def run(pipeline: Session) -> None:
        if not (count := await known.remove(pipeline.store, person(name))):
            raise V2TError(f"no voice of {quoted(name)} is known: v2t voices list shows whose are")
        say(f"removed {counted(count, 'voice')} of {name}")

    in_session(run)


def _doubts(mine: KnownVoice, others: Sequence[KnownVoice]) -> Iterator[str]:
    """What may be wrong with a voice that was added."""
    alike = resembling(mine.voice, others)
    if not alike.get(mine.name, True):
        yield f"it does not sound like the other voices of {mine.name}: is it the same person?"
    if similar := [name for name, is_alike in alike.items() if is_alike and name != mine.name]:
        yield (
            f"it also sounds like {' and '.join(similar)}: jobs write no name where they cannot tell the two apart, "
            "so if it is one person, remove a name with v2t voices rm"
        )


def _people(voices: Sequence[KnownVoice]) -> list[dict[str, Any]]:
    """Each person with their voices, which come by name. How they sound is nobody's business."""
    return [
        {"name": name, "voices": [{"job": each.job, "speaker": each.speaker, "by": each.by} for each in theirs]}
        for name, theirs in groupby(voices, lambda voice: voice.name)
    ]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    theirs = row["voices"]
    jobs = ", ".join(f"{each['job']} {each['speaker']}" for each in theirs)
    return row["name"], str(len(theirs)), jobs, ", ".join(sorted({each["by"] for each in theirs}))
