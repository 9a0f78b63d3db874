"""`v2t topology`: what there must be in the broker and the store."""

import click
import uvloop
from rich.console import Console
from rich.table import Table

from v2t_stream.session import announce_uploads, session
from v2t_stream.settings import Settings
from v2t_stream.topology import STAGES, STREAMS, store_in_use


@click.group()
def topology() -> None:
    """Set up streams and buckets, and show them."""


@topology.command("apply")
@click.option("--change-store", is_flag=True, help="Keep files from now on in the store of these settings.")
def apply_(*, change_store: bool) -> None:
    """Create or update streams, consumers and buckets; doing it again changes nothing."""
    settings = Settings.from_environment()

    async def run() -> None:
        async with session(settings, work=False, set_up_again=True, change_store=change_store) as pipeline:
            click.echo(f"streams and consumers are set up at {pipeline.connection.url}")
            click.echo(f"files are kept in {await store_in_use(pipeline.connection)}")
        if trouble := await announce_uploads(settings):
            click.echo(trouble, err=True)
        elif settings.minio_endpoint:
            click.echo(f"what is put into the bucket {settings.upload_bucket} starts a job")

    uvloop.run(run())


@topology.command()
def show() -> None:
    """Show what each stream and consumer holds, and where files are kept."""

    async def run() -> None:
        async with session(Settings.from_environment(), work=False) as pipeline:
            connection = pipeline.connection
            table = Table("stream", "messages", "bytes", "consumer", "waiting", "in work", box=None)
            for name in STREAMS:
                state = (await connection.api(f"STREAM.INFO.{name}"))["state"]
                table.add_row(name, str(state["messages"]), str(state["bytes"]))
                for row in STAGES:
                    for consumer in row.consumers if row.stream == name else ():
                        info = await connection.api(f"CONSUMER.INFO.{name}.{consumer.durable}")
                        table.add_row(
                            "", "", "", consumer.durable, str(info["num_pending"]), str(info["num_ack_pending"])
                        )
            Console().print(table)
            click.echo(f"files are kept in {await store_in_use(connection)}")

    uvloop.run(run())
