"""`v2t health`: whether a stage of this machine is at work, for health checks of containers and services."""

import asyncio

import click

from v2t_stream.broker.connect import connect
from v2t_stream.broker.embedded import find_running
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError, SettingsError
from v2t_stream.fleet.presence import fleet
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES


@click.command()
@click.argument("name", type=click.Choice([row.name for row in STAGES]))
def health(name: str) -> None:
    """Tell whether this machine's stage NAME is at work; exit code 1 where it is not.

    Asked is not the process but the broker, whom each process tells about itself once a second: one that hangs, or
    has lost the broker, is as good as gone.
    """
    settings = Settings.from_environment()
    url = settings.nats_url or find_running(settings.home)
    if not url:
        raise SettingsError("no broker is known: set NATS_URL to one, or start the embedded one with v2t up")

    async def run() -> None:
        client = f"v2t health on {settings.node}"
        async with await connect(url, name=client, login=Login.of(settings)) as connection:
            nodes = await fleet(connection)
        mine = [info for info in nodes if (info.node, info.stage) == (settings.node, name)]
        if not mine:
            raise BrokerError(
                f"the stage {name} of the node {settings.node} has not told {connection.url} about itself for seconds: "
                "see its log"
            )
        for info in mine:
            click.echo(f"{info.stage} on {info.node}: {len(info.working)}/{info.slots} in work, {info.done} done")

    asyncio.run(run())
