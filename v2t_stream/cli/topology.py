"""`v2t topology`: what must exist in the broker and the store."""

from typing import Final

import click

from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.output import Column, print_table
from v2t_stream.runtime.housekeeping import promise
from v2t_stream.runtime.session import session
from v2t_stream.runtime.set_up import drifted, store_drifted
from v2t_stream.runtime.stores import announce_uploads, minio_store
from v2t_stream.settings import Settings
from v2t_stream.topology.applied import store_in_use
from v2t_stream.topology.drift import age
from v2t_stream.topology.epochs import renew
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import DEAD, JOBS, STREAMS
from v2t_stream.units import size

_KEPT: Final = {JOBS: "facts of jobs", DEAD: "dead letters"}
_COLUMNS: Final = (
    Column("stream"),
    *(Column(name, right=True) for name in ("messages", "size", "waiting", "in progress")),
    Column("consumer"),
)


@click.group()
def topology() -> None:
    """Set up streams and buckets, and show them."""


@topology.command("apply")
@click.option("--change-store", is_flag=True, help="From now on, keep files in the store that these settings name.")
@click.option("--renew-ids", is_flag=True, help="Give new jobs ids that no older copy of the broker has used.")
def apply_(*, change_store: bool, renew_ids: bool) -> None:
    """Create or update streams and buckets. Running it again changes nothing."""
    settings = Settings.from_environment()

    async def run() -> None:
        async with session(settings, work=False, set_up_again=True, change_store=change_store) as pipeline:
            if renew_ids:
                await renew(pipeline.connection)
            click.echo(f"streams and consumers are set up at {pipeline.connection.url}")
            click.echo(f"files are kept in {await store_in_use(pipeline.connection)}")
        if trouble := await announce_uploads(settings):
            click.echo(trouble, err=True)
        elif settings.minio_endpoint:
            click.echo(promise(await minio_store(settings).announces_uploads(), settings.upload_bucket))

    in_loop(run())


@topology.command()
def show() -> None:
    """Show streams and buckets: what they hold, how long they keep files, and what differs from the set-up."""
    settings = Settings.from_environment()

    async def run() -> None:
        async with session(settings, work=False) as pipeline:
            connection = pipeline.connection
            rows: list[tuple[str, ...]] = []
            ages = {}
            for name in STREAMS:
                info = await connection.api(f"STREAM.INFO.{name}")
                state = info["state"]
                if name in _KEPT:
                    ages[_KEPT[name]] = info["config"]["max_age"] / 1e9
                rows.append((name, str(state["messages"]), size(state["bytes"]), "", "", ""))
                for row in STAGES:
                    for consumer in row.consumers if row.stream == name else ():
                        info = await connection.api(f"CONSUMER.INFO.{name}.{consumer.durable}")
                        counts = (str(info["num_pending"]), str(info["num_ack_pending"]))
                        rows.append(("", "", "", *counts, consumer.durable))
            print_table(_COLUMNS, rows)
            click.echo(f"files are kept in {await store_in_use(connection)}")
            kept = await pipeline.store.lifetimes()
            click.echo(f"retention: {', '.join(f'{name} {age(seconds)}' for name, seconds in (kept | ages).items())}")
            drifts = [*await drifted(connection, settings), *await store_drifted(pipeline.store, settings)]
            if drifts:
                click.echo("differs from the expected set-up; fix it with v2t topology apply:")
                for drift in drifts:
                    click.echo(f"  {drift}")

    in_loop(run())
