"""`v2t metrics`, and what `--metrics-port` of other commands does."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import uvloop

from v2t_stream import logs
from v2t_stream.broker.connection import Connection
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.fleet.presence import Presence, fleet
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_PATIENCE: Final = 5.0  # seconds
_HELP: Final = "Serve metrics here; those of a node's stages on the five ports that follow."


class Where(NamedTuple):
    """Where metrics are served."""

    host: str
    port: int

    def of_stages(self) -> dict[str, list[str]]:
        """Each stage's arguments, which has it serve its own on one of the ports that follow."""
        return {
            row.name: ["--metrics-host", self.host, "--metrics-port", str(self.port + n)]
            for n, row in enumerate(STAGES, 1)
        }


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let the user say by --metrics-port and --metrics-host where metrics are served: the command's `where`."""

    @functools.wraps(command)
    def with_where(*arguments: Any, metrics_host: str, metrics_port: int | None, **named: Any) -> Any:
        where = Where(metrics_host, metrics_port) if metrics_port else None
        return command(*arguments, where=where, **named)

    port = click.option("--metrics-port", type=click.IntRange(1, 65_535 - len(STAGES)), help=_HELP)
    host = click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to do so at.")
    return port(host(with_where))


@click.command()
@click.option("--port", default=9464, show_default=True, help="Where Prometheus asks.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve at.")
@click.option("--broker-monitor", default="", metavar="URL", help="nats-server's own monitoring, as http://host:8222.")
def metrics(port: int, host: str, broker_monitor: str) -> None:
    """Serve the metrics of the fleet until stopped: queues, jobs, nodes, dead letters, storage."""
    settings = Settings.from_environment()

    async def run() -> None:
        stop = stop_on_signals()
        async with (
            session(settings, work=False) as pipeline,
            fleet_served(Where(host, port), pipeline.connection, monitor=broker_monitor),
        ):
            click.echo(f"metrics of {pipeline.connection.url} at http://{host}:{port}/metrics; Ctrl-C ends it")
            await stop.wait()

    logs.start(settings.node, form=settings.log_format, debug=bool(click.get_current_context().find_root().obj))
    uvloop.run(run())


@contextlib.asynccontextmanager
async def stage_served(
    where: Where | None, connection: Connection, presence: Presence, settings: Settings
) -> AsyncGenerator[None]:
    """Serve what this stage has done, while the block runs."""
    if where is None:
        yield
        return
    from v2t_stream.monitoring.metrics import StageCollector  # noqa: PLC0415  # only who serves metrics pays for the library

    def unready() -> str:
        if presence.loading:
            return "the model is loading"
        return "" if presence.queues else "it has not begun to ask for work"

    async with _served(where, connection, unready, StageCollector(presence, settings.home)):
        yield


@contextlib.asynccontextmanager
async def fleet_served(
    where: Where | None, connection: Connection, *, node: str = "", monitor: str = ""
) -> AsyncGenerator[None]:
    """Serve what the broker knows of the fleet, while the block runs. Ready is it when all stages of `node` are."""
    if where is None:
        yield
        return
    from v2t_stream.monitoring.metrics import FleetCollector  # noqa: PLC0415  # as above
    from v2t_stream.monitoring.survey import Surveyor  # noqa: PLC0415

    loop = asyncio.get_running_loop()

    def unready() -> str:
        told = asyncio.run_coroutine_threadsafe(fleet(connection), loop).result(_PATIENCE)
        at_work = {info.stage for info in told if info.node == node and info.queues and info.state != "loading"}
        missing = [row.name for row in STAGES if node and row.name not in at_work]
        return f"not at work: {', '.join(missing)}" if missing else ""

    async with _served(where, connection, unready, FleetCollector(Surveyor(connection).look, loop, monitor)):
        yield


@contextlib.asynccontextmanager
async def _served(
    where: Where, connection: Connection, unready: Callable[[], str], collector: "Collector"
) -> AsyncGenerator[None]:
    from v2t_stream.monitoring.endpoint import Health, served  # noqa: PLC0415  # as above

    health = Health(connection.client, unready)
    beating = asyncio.create_task(health.beat())
    try:
        with served(where.host, where.port, health, collector):
            yield
    finally:
        beating.cancel()
