"""`v2t up`, `v2t node` and `v2t stage`: they run until stopped."""

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Coroutine
from typing import Any

import click

from schemas.chunks import CHUNK_SECONDS
from v2t_stream import logs, traces
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import url_file
from v2t_stream.broker.login import Login
from v2t_stream.broker.up import kept
from v2t_stream.cli.broker import mention, with_broker
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.metrics import Where, fleet_served, options, stage_served
from v2t_stream.cli.output import Column, echo_json, is_terminal, json_option, print_table, say
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.errors import Hung, SettingsError
from v2t_stream.fleet.presence import NodeInfo, Presence, announce, check_may_work, fleet
from v2t_stream.host.memory import share_heaps
from v2t_stream.host.tasks import end
from v2t_stream.runtime.housekeeping import keep_house
from v2t_stream.runtime.recovery import recover
from v2t_stream.runtime.session import session
from v2t_stream.runtime.set_up import make_ready
from v2t_stream.runtime.stage import Resources, load_stage
from v2t_stream.runtime.stores import announce_uploads, open_store
from v2t_stream.runtime.stragglers import help_out
from v2t_stream.runtime.supervisor import supervised
from v2t_stream.runtime.worker import Worker
from v2t_stream.settings import Settings
from v2t_stream.settings.home import make_folder
from v2t_stream.text import one_line
from v2t_stream.topology.epochs import renew_if_rolled_back
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import INBOX
from v2t_stream.transcription.providers import load
from v2t_stream.units import speed

_DEFAULT_PORT = 4222  # where every NATS client looks first
_LONGEST = 4000  # characters of an error, which may quote what strangers sent
_COLUMNS = (
    *(Column(name) for name in ("node", "stage", "accelerator", "engine", "model")),
    *(Column(name, right=True) for name in ("busy", "speed", "done")),
    Column("state"),
)


@click.command()
@click.option(
    "--port", default=_DEFAULT_PORT, show_default=True, help="The broker's port; if it is taken, another is used."
)
@options
def up(port: int, where: Where | None) -> None:
    """Run the embedded broker and all stages until stopped."""
    settings = Settings.from_environment()
    if settings.nats_url:
        raise SettingsError(
            "v2t up runs the embedded broker, but NATS_URL names another one: set NATS_URL=local, or use v2t node"
        )

    async def run() -> None:
        arguments = where.of_stages() if where else {}
        async with (
            session(settings, work=True, port=port, stays=True, quiet=False, arguments=arguments) as pipeline,
            fleet_served(where, pipeline.connection, node=settings.node),
        ):
            await _announce_uploads(settings)
            stop = stop_on_signals()
            click.echo(f"up at {pipeline.connection.url}, data in {settings.home}; press Ctrl-C to stop")
            file = shlex.quote(str(url_file(settings.home)))
            click.echo(f'v2t commands here use it by themselves; for other programs: export NATS_URL="$(cat {file})"')
            await _stopped(stop)

    _start_log(settings)
    with kept(settings.home):
        in_loop(run())


@click.group(invoke_without_command=True)
@options
@click.pass_context
def node(context: click.Context, where: Where | None) -> None:
    """Run all stages of this machine on the broker of NATS_URL."""
    if context.invoked_subcommand:
        return
    settings = with_broker(Settings.from_environment())
    make_folder(settings.home)
    load(settings)  # report what is wrong in it here, not in a stage that keeps restarting

    async def run() -> None:
        stages, login = [row.name for row in STAGES], Login.of(settings)
        name = f"v2t node {settings.node}"
        async with await connect(settings.nats_url, name=name, login=login) as connection:
            await make_ready(connection, settings, stages)
            await check_may_work(connection, settings.node)
            await _announce_uploads(settings)
            if not where:
                await connection.close()  # no longer needed
            async with (
                fleet_served(where, connection, node=settings.node),
                supervised(stages, settings, arguments=where.of_stages() if where else {}),
            ):
                stop = stop_on_signals()
                click.echo(f"node {settings.node} works for {connection.url}; press Ctrl-C to stop")
                await _stopped(stop)

    _start_log(settings)
    in_loop(run())


@node.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show every process of the fleet. This includes those that died and are about to be restarted."""

    async def run() -> None:
        settings = Settings.from_environment()
        mention(settings)
        async with session(settings, work=False) as pipeline:
            nodes = await fleet(pipeline.connection)
        if as_json:
            echo_json(nodes)
            return
        if is_terminal() and not nodes:
            click.echo("no node is running: start one with v2t up or v2t node", err=True)
            return
        print_table(_COLUMNS, map(_row, nodes))
        for info in nodes:
            if info.last_error:
                say(f"the last error of {info.stage} on {info.node}: {one_line(info.last_error, _LONGEST)}")

    in_loop(run())


def _row(info: NodeInfo) -> tuple[str, ...]:
    busy = f"{len(info.working)}/{info.slots}" if info.is_alive else ""
    names = (info.node, info.stage, info.accelerator, info.engine, info.model)
    return (*map(one_line, names), busy, speed(info.speed), str(info.done), one_line(info.state))


@click.command()
@click.argument("name", type=click.Choice([row.name for row in STAGES]))
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input ends.")
@options
def stage(name: str, *, with_parent: bool, where: Where | None) -> None:
    """Run one stage on the broker of NATS_URL."""
    settings = with_broker(Settings.from_environment())

    async def run() -> None:
        stop = stop_on_signals()
        if with_parent:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_end, stop)
        connection = await _connected(settings.nats_url, f"v2t {name} on {settings.node}", Login.of(settings), stop)
        if connection is None:
            return
        async with connection:
            await make_ready(connection, settings, [name])
            await check_may_work(connection, settings.node)
            if name == "intake":
                await renew_if_rolled_back(connection, settings.home)
            await connection.hold_to(INBOX)
            presence = Presence(settings.node, name)
            resources = Resources(settings, connection, open_store(connection, settings), presence)
            worker = Worker(load_stage(name, resources), resources)
            aside = [announce(connection, presence), connection.watch_store()]
            if name == "intake":
                aside.append(keep_house(connection, resources.store, settings, presence))
            if name == "transcribe":
                aside.append(help_out(connection, worker, presence, CHUNK_SECONDS))
            if name == "aggregate":
                aside.append(recover(connection, settings))
            try:
                async with stage_served(where, connection, presence, settings):
                    await _beside(worker.run(stop), *aside)
            except Hung as error:
                logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # the sentence is enough
                os._exit(1)  # an ordinary exit would wait for the thread

    share_heaps()
    _start_log(settings, name)
    with traces.sent(settings.node, name):
        in_loop(run())


async def _stopped(stop: asyncio.Event) -> None:
    """Wait until the user stops this command, and say what happens then."""
    await stop.wait()
    click.echo("stopping: finishing current work, or handing it back; press Ctrl-C again to end at once")


async def _announce_uploads(settings: Settings) -> None:
    if trouble := await announce_uploads(settings):
        logging.getLogger(__name__).warning("%s", trouble)


async def _beside(main: Coroutine[Any, Any, None], *aside: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end, and `aside` until then; if one of those fails, all end with its error."""
    working = asyncio.create_task(main)
    beside = [asyncio.create_task(one) for one in aside]
    ended, _ = await asyncio.wait({working, *beside}, return_when=asyncio.FIRST_COMPLETED)
    await end(*beside)
    working.cancel()  # once: it finishes its current work
    await asyncio.wait({working})
    if not working.cancelled():
        working.result()
    for task in ended:
        task.result()


async def _connected(url: str, name: str, login: Login, stop: asyncio.Event) -> Connection | None:
    """Connect to a broker that may still be starting; None if `stop` is set before it answers."""
    connecting = asyncio.create_task(connect(url, name=name, patience=60, login=login))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if connecting.done():
        return connecting.result()
    await end(connecting)
    return None


def _read_end(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _start_log(settings: Settings, stage: str = "") -> None:
    debug = bool(click.get_current_context().find_root().obj)
    logs.start(settings.node, stage, form=settings.log_format, debug=debug)
