"""`v2t queue`: what waits for each stage, and pausing it."""

import time

import click
from rich.console import Console
from rich.table import Table

from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.cli.run import in_session
from v2t_stream.jobs.progress import clock
from v2t_stream.runtime.session import Session
from v2t_stream.topology.queues import pause, queues, resume


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
        table = Table("queue", "waiting", "in progress", "redelivered", "pulling", "oldest", "", box=None)
        for one in found:
            oldest = clock(time.time() - one.oldest) if one.oldest else ""
            counts = map(str, (one.waiting, one.in_work, one.redelivered, one.pulling))
            table.add_row(one.name, *counts, oldest, "paused" if one.paused else "")
        Console().print(table)

    in_session(run)


@queue.command("pause")
@click.argument("name")
def pause_(name: str) -> None:
    """Pause the queue NAME. Nodes take nothing from it until you resume it, but finish their current work."""
    in_session(lambda pipeline: pause(pipeline.connection, name))
    click.echo(f"paused {name}; resume it with v2t queue resume {name}")


@queue.command("resume")
@click.argument("name")
def resume_(name: str) -> None:
    """Resume the queue NAME."""
    in_session(lambda pipeline: resume(pipeline.connection, name))
    click.echo(f"resumed {name}")
