"""`v2t keys`: who may use `v2t serve`."""

from typing import Any, Final, get_args

import click

from schemas.keys import KeyRole
from v2t_stream.access import keys as kept
from v2t_stream.cli import completion
from v2t_stream.cli.author import author
from v2t_stream.cli.output import Column, echo_json, json_option, print_table, say
from v2t_stream.cli.run import in_session
from v2t_stream.runtime.session import Session
from v2t_stream.units import date, size

_COLUMNS: Final = (
    *(Column(name) for name in ("name", "id", "role")),
    *(Column(name, right=True) for name in ("requests/min", "upload")),
    *(Column(name) for name in ("added", "by")),
)


@click.group()
def keys() -> None:
    """Add keys for v2t serve, list them, and remove them. A key counts, or stops counting, within a second."""


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(get_args(KeyRole)),
    required=True,
    help="submitter: its own jobs only; viewer: sees all, changes nothing; operator: everything.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Requests a minute, at each server. Without it: any number."
)
@click.option(
    "--max-bytes", type=click.IntRange(1), metavar="N", help="Bytes of one upload. Without it: V2T_MAX_BYTES."
)
def add(name: str, role: KeyRole, limit: int | None, max_bytes: int | None) -> None:
    """Make a key for NAME. This prints the key once: nobody can find it out again."""

    async def run(pipeline: Session) -> None:
        _show(
            await kept.add(pipeline.connection, name, role, requests=limit or 0, max_bytes=max_bytes or 0, by=author())
        )

    in_session(run)


@keys.command()
@click.argument("name", shell_complete=completion.keys)
def renew(name: str) -> None:
    """Replace the key of NAME by a new one. Its jobs stay its own, and the old key stops working."""

    async def run(pipeline: Session) -> None:
        _show(await kept.renew(pipeline.connection, name, by=author()))

    in_session(run)


@keys.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the keys, without their secrets."""

    async def run(pipeline: Session) -> None:
        found = [_row(each) for each in await kept.listed(pipeline.connection)]
        if as_json:
            echo_json(found)
        else:
            print_table(_COLUMNS, map(_cells, found))

    in_session(run)


@keys.command()
@click.argument("name", shell_complete=completion.keys)
def rm(name: str) -> None:
    """Remove the key of NAME. It stops working at once, and what it has open ends as if its client had gone."""

    async def run(pipeline: Session) -> None:
        await kept.remove(pipeline.connection, name)
        say(f"removed the key {name}")

    in_session(run)


def _show(key: str) -> None:
    click.echo(key)
    say("keep it now: it is not shown again", err=True)


def _row(each: kept.Kept) -> dict[str, Any]:
    key = each.key
    return {
        "name": key.name,
        "id": key.id,
        "role": key.role,
        "requests": key.requests or None,
        "max_bytes": key.max_bytes or None,
        "added": each.at,
        "by": key.by,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(row[name] for name in ("name", "id", "role")),
        str(row["requests"] or ""),
        size(row["max_bytes"]) if row["max_bytes"] else "",
        date(row["added"]),
        row["by"],
    )
