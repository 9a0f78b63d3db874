"""`v2t dead`: what could not be done, and retrying it."""

from typing import Final

import click
import msgspec

from v2t_stream.broker.connection import Connection
from v2t_stream.cli.output import echo_json, is_terminal, json_option, say
from v2t_stream.cli.run import in_session
from v2t_stream.errors import V2TError
from v2t_stream.jobs.dead_letters import Dead, dead_letters, remove
from v2t_stream.jobs.redrive import redrive
from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.units import date, moment

_LONGEST: Final = 4000  # characters of a reason, which may quote what strangers sent
_INDENT: Final = 4  # columns before a reason on a terminal
_numbers = click.argument("numbers", metavar="NUMBER…", nargs=-1, required=True, type=int)


@click.group()
def dead() -> None:
    """Show what could not be done and why, retry it, or discard it."""


@dead.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all dead letters with their numbers, the latest last."""

    async def run(pipeline: Session) -> None:
        letters = await dead_letters(pipeline.connection)
        if as_json:
            told = [{"number": one.number, "at": one.at, **msgspec.to_builtins(one.letter)} for one in letters]
            echo_json(told)
            return
        if is_terminal() and not letters:
            click.echo("no dead letters: nothing failed for good", err=True)
        for one in letters:
            chunk = "" if one.chunk is None else f" chunk {one.chunk}"
            at = moment(one.at) if is_terminal() else date(one.at)
            head = f"{one.number}  {at}  {one.letter.stage}  {one.letter.job}{chunk}: "
            say(one_line(one.letter.reason, _LONGEST), name=head, indent=_INDENT)

    in_session(run)


@dead.command("redrive")
@_numbers
def redrive_(numbers: tuple[int, ...]) -> None:
    """Retry the work of these letters, and remove them."""

    async def run(pipeline: Session) -> None:
        for letter in await _chosen(pipeline.connection, numbers):
            job = await redrive(pipeline.connection, pipeline.store, letter, Settings.from_environment().home)
            click.echo(f"{letter.number}: {f'retrying job {job}' if job else 'submitted again'}")

    in_session(run)


@dead.command("remove")
@_numbers
def remove_(numbers: tuple[int, ...]) -> None:
    """Discard these letters; nothing else changes."""

    async def run(pipeline: Session) -> None:
        for letter in await _chosen(pipeline.connection, numbers):
            await remove(pipeline.connection, letter.number)

    in_session(run)


async def _chosen(connection: Connection, numbers: tuple[int, ...]) -> list[Dead]:
    """Raises V2TError if there is no such letter."""
    letters = {one.number: one for one in await dead_letters(connection)}
    for number in numbers:
        if number not in letters:
            raise V2TError(f"there is no dead letter {number}: v2t dead list shows all of them")
    return [letters[number] for number in numbers]
