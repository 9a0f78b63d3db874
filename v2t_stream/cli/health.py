"""`v2t health`: whether a stage of this machine is working, for health checks of containers and services."""

import click

from v2t_stream.broker.connect import connect
from v2t_stream.broker.login import Login
from v2t_stream.cli.broker import with_broker
from v2t_stream.cli.loop import in_loop
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import fleet
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES


@click.command()
@click.argument("name", type=click.Choice([row.name for row in STAGES]))
def health(name: str) -> None:
    """Check that this machine's stage NAME is working; exit code 1 if it is not.

    This asks the broker, to which each process reports once a second, not the process itself. So it also fails for a
    process that hangs or has lost the broker.
    """
    settings = with_broker(Settings.from_environment())

    async def run() -> None:
        client = f"v2t health on {settings.node}"
        async with await connect(settings.nats_url, name=client, login=Login.of(settings)) as connection:
            nodes = await fleet(connection)
        mine = [info for info in nodes if (info.node, info.stage) == (settings.node, name)]
        if not mine:
            raise BrokerError(
                f"the stage {name} of the node {settings.node} has not reported to {connection.url} for seconds: "
                "see its log"
            )
        for info in mine:
            click.echo(f"{info.stage} on {info.node}: {len(info.working)}/{info.slots} in progress, {info.done} done")

    in_loop(run())
