"""`v2t queue`: what waits for each stage, and pausing it."""

import time
from typing import Final

import click

from v2t_stream.cli import completion
from v2t_stream.cli.output import Column, echo_json, json_option, print_table
from v2t_stream.cli.run import in_session
from v2t_stream.runtime.session import Session
from v2t_stream.topology.queues import Queue, pause, queues, resume
from v2t_stream.units import ago

_COLUMNS: Final = (
    Column("queue"),
    *(Column(name, right=True) for name in ("waiting", "in progress", "redelivered", "pulling", "oldest")),
    Column("paused"),
)


@click.group()
def queue() -> None:
    """Show what waits for each stage, pause a queue, resume it."""


@queue.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all queues, in the order of the stages."""

    async def run(pipeline: Session) -> None:
        found = await queues(pipeline.connection)
        if as_json:
            echo_json([one._asdict() for one in found])
            return
        print_table(_COLUMNS, map(_row, found))

    in_session(run)


def _row(queue: Queue) -> tuple[str, ...]:
    counts = map(str, (queue.waiting, queue.in_work, queue.redelivered, queue.pulling))
    oldest = ago(time.time() - queue.oldest) if queue.oldest else ""
    return (queue.name, *counts, oldest, "paused" if queue.paused else "")


@queue.command("pause")
@click.argument("name", shell_complete=completion.queues)
def pause_(name: str) -> None:
    """Pause the queue NAME. Nodes take nothing from it until you resume it, but finish their current work."""
    in_session(lambda pipeline: pause(pipeline.connection, name))
    click.echo(f"paused {name}; resume it with v2t queue resume {name}")


@queue.command("resume")
@click.argument("name", shell_complete=completion.queues)
def resume_(name: str) -> None:
    """Resume the queue NAME."""
    in_session(lambda pipeline: resume(pipeline.connection, name))
    click.echo(f"resumed {name}")
