"""`v2t metrics`, and what `--metrics-port` of other commands does."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from v2t_stream import logs
from v2t_stream.broker.connection import Connection
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.fleet.presence import Presence, fleet
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_PATIENCE: Final = 5.0  # seconds
_HELP: Final = "Serve metrics on this port; the stages of a node use the five ports after it."


class Where(NamedTuple):
    """Where metrics are served."""

    host: str
    port: int

    def of_stages(self) -> dict[str, list[str]]:
        """The arguments that let each stage serve its own metrics, on the ports after this one."""
        return {
            row.name: ["--metrics-host", self.host, "--metrics-port", str(self.port + n)]
            for n, row in enumerate(STAGES, 1)
        }


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --metrics-port and --metrics-host, which the command gets as `where`."""

    @functools.wraps(command)
    def with_where(*arguments: Any, metrics_host: str, metrics_port: int | None, **named: Any) -> Any:
        where = Where(metrics_host, metrics_port) if metrics_port else None
        return command(*arguments, where=where, **named)

    port = click.option("--metrics-port", type=click.IntRange(1, 65_535 - len(STAGES)), help=_HELP)
    host = click.option(
        "--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve metrics at."
    )
    return port(host(with_where))


@click.command()
@click.option("--port", default=9464, show_default=True, help="The port that Prometheus scrapes.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve at.")
@click.option(
    "--broker-monitor",
    default="",
    metavar="URL",
    help="The monitoring endpoint of nats-server, such as http://host:8222.",
)
def metrics(port: int, host: str, broker_monitor: str) -> None:
    """Serve the metrics of the fleet until stopped: queues, jobs, nodes, dead letters, storage."""
    settings = Settings.from_environment()

    async def run() -> None:
        async with (
            session(settings, work=False) as pipeline,
            fleet_served(Where(host, port), pipeline.connection, monitor=broker_monitor),
        ):
            stop = stop_on_signals()
            click.echo(f"metrics of {pipeline.connection.url} at http://{host}:{port}/metrics; press Ctrl-C to stop")
            await stop.wait()

    logs.start(settings.node, form=settings.log_format, debug=bool(click.get_current_context().find_root().obj))
    in_loop(run())


@contextlib.asynccontextmanager
async def stage_served(
    where: Where | None, connection: Connection, presence: Presence, settings: Settings
) -> AsyncGenerator[None]:
    """While the block runs, serve what this stage has done."""
    if where is None:
        yield
        return
    from v2t_stream.monitoring.metrics import StageCollector  # noqa: PLC0415  # loaded only if metrics are served

    def unready() -> str:
        if presence.loading:
            return "the model is loading"
        return "" if presence.queues else "it has not started to take work"

    async with _served(where, connection, unready, StageCollector(presence, settings.home)):
        yield


@contextlib.asynccontextmanager
async def fleet_served(
    where: Where | None, connection: Connection, *, node: str = "", monitor: str = ""
) -> AsyncGenerator[None]:
    """While the block runs, serve what the broker knows of the fleet. Ready once all stages of `node` are."""
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
        return f"not working: {', '.join(missing)}" if missing else ""

    async with _served(where, connection, unready, FleetCollector(Surveyor(connection).look, loop, monitor)):
        yield


@contextlib.asynccontextmanager
async def _served(
    where: Where, connection: Connection, unready: Callable[[], str], collector: "Collector"
) -> AsyncGenerator[None]:
    from v2t_stream.monitoring.endpoint import Health, served  # noqa: PLC0415  # as above

    async with served(where.host, where.port, Health(connection.client, unready), collector):
        yield
