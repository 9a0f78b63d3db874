"""`v2t models`: which models this machine and the fleet have, and moving them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

import click
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from schemas.options import DEMO_MODEL
from v2t_stream.broker.embedded import find_running
from v2t_stream.cli import completion
from v2t_stream.cli.bars import Live
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.output import Column, echo_json, json_option, print_table, say
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import ALIASES
from v2t_stream.errors import BrokerError, SettingsError, StoreError, V2TError
from v2t_stream.models import Origin, hub, names, origin, problem
from v2t_stream.models import shared as fleet
from v2t_stream.models.fetching import Models, Transfer, found
from v2t_stream.models.folder import Manifest
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.units import moment, size

_SPEAKERS: Final = "speakers"  # a name that other programs have for such models
_STEPS: Final = 10  # lines about one transfer, without a terminal
_engine = click.option(
    "--engine", type=click.Choice(list(names())), help="The engine that the model is for; by default V2T_ENGINE."
)


class TransferBar(Live):
    """A bar on stderr for a transfer; if that is not a terminal, a line now and then."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
        )
        self._task: TaskID | None = None
        self._said = -1

    def __call__(self, transfer: Transfer | None) -> None:
        if transfer is None:
            return
        text = f"{transfer.model} {transfer.way}"
        step = transfer.here * _STEPS // max(1, transfer.size)
        if not self._live:
            if step != self._said:
                self._said = step
                click.echo(f"{text}: {size(transfer.here)} of {size(transfer.size)}", err=True)
        elif self._task is None:
            # Bytes that were here before must not count as speed.
            self._task = self._progress.add_task(text, completed=transfer.here, total=transfer.size)
        else:
            self._progress.update(self._task, description=text, completed=transfer.here, total=transfer.size)


@click.group()
def models() -> None:
    """List, fetch, share and remove models."""


@models.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List models. This shows what this machine has, what the fleet shares, and the known names."""
    settings = Settings.from_environment()

    async def run() -> list[dict[str, Any]]:
        async with _store(settings) as store:
            return _rows(settings, await fleet.shared(store) if store else {})

    rows = in_loop(run())
    if as_json:
        echo_json(rows)
        return
    if rows:
        columns = (Column("model"), Column("engine"), Column("size", right=True), Column("last used"), Column("fleet"))
        print_table((*columns, Column("here", cut="start")), map(_cells, rows))
    for engine, known in names().items():
        say(f"{engine} knows {', '.join(sorted(known - ALIASES.keys()))}")


@models.command()
@click.argument("name", shell_complete=completion.known_models)
@_engine
def pull(name: str, engine: str | None) -> None:
    """Fetch a model to this machine. It comes from the fleet if it is shared there, otherwise from the hub.

    A model that is already here is checked, and fetched again if it is damaged.
    """
    settings = Settings.from_environment()
    wanted = _origin(name, engine, settings)

    async def run() -> None:
        async with _store(settings) as store:
            try:
                with TransferBar() as bar:
                    mine = Models(settings, store, bar)
                    before = await found(mine, wanted)
                    for file in await mine.repair(wanted):
                        before = None
                        click.echo(f"{file} of the model {wanted.name} is damaged: fetching it again", err=True)
                    held = await mine.hold(wanted.engine, wanted.name)
            except asyncio.CancelledError:
                click.echo("what has arrived is kept: run the same command again to continue", err=True)
                raise
            already = " already, and undamaged" if before else ""
            click.echo(f"the model {wanted.name} is here{already}: {held.model}")
            held.close()

    in_loop(run())


@models.command()
@click.argument("name", shell_complete=completion.models)
@_engine
def share(name: str, engine: str | None) -> None:
    """Share a model with the fleet. Machines without internet can fetch it from the fleet's store."""
    settings = Settings.from_environment()
    wanted = _origin(name, engine, settings)

    async def run() -> None:
        mine = Models(settings)
        here = await found(mine, wanted)
        if not here:
            raise V2TError(f"the model {wanted.name} is not on this machine: fetch it with v2t models pull {name}")
        if damaged := await mine.repair(wanted):
            raise V2TError(
                f"{' and '.join(damaged)} of the model {wanted.name} were damaged: fetch it again with v2t models pull "
                f"{name}"
            )
        folder, manifest = here
        async with _store(settings, needed=True) as store:
            assert store  # noqa: S101  for the type checker: it is needed
            with TransferBar() as bar:
                new = await fleet.share(
                    store,
                    wanted.key,
                    folder,
                    manifest,
                    lambda sent: bar(Transfer(wanted.name, "to the fleet", sent, manifest.size)),
                )
        click.echo(f"the model {wanted.name} is shared{'' if new else ' already'}: {size(manifest.size)}")

    in_loop(run())


@models.command()
@click.argument("name", shell_complete=completion.models)
@_engine
@click.option("--fleet", "of_fleet", is_flag=True, help="Remove it from the fleet's store instead of this machine.")
def rm(name: str, engine: str | None, *, of_fleet: bool) -> None:
    """Remove a model, from this machine or from the fleet's store."""
    settings = Settings.from_environment()
    wanted = _origin(name, engine, settings)

    async def withdraw() -> None:
        async with _store(settings, needed=True) as store:
            assert store  # noqa: S101  for the type checker: it is needed
            if not await fleet.withdraw(store, wanted.key):
                raise V2TError(f"the fleet shares no model {wanted.name} of {wanted.engine}")
        click.echo(f"the model {wanted.name} is no longer shared")

    if of_fleet:
        in_loop(withdraw())
        return
    folder = Models(settings).folder
    if wanted.key not in [kept.key for kept in folder.kept()]:
        elsewhere = hub.cached(wanted)
        where = f": another program keeps one in {elsewhere}" if elsewhere else ""
        raise V2TError(f"v2t has no model {wanted.name} of {wanted.engine} on this machine{where}")
    if not (lock := folder.lock(wanted.key)):
        raise V2TError(f"the model {wanted.name} is in use or being fetched: stop what uses it, then remove it")
    with lock:
        folder.remove(wanted.key)
    click.echo(f"removed the model {wanted.name} from this machine")


def _origin(name: str, engine: str | None, settings: Settings) -> Origin:
    """Raises SettingsError if no model of this name can be fetched."""
    if name == _SPEAKERS:
        raise SettingsError("the models that tell speakers apart are part of v2t itself: --speakers needs no download")
    engine = engine or (settings.engine if settings.engine in names() else next(iter(names())))
    if reason := problem(name, engine):
        raise SettingsError(reason)
    if name == DEMO_MODEL:
        raise SettingsError("the model demo is part of v2t itself: it cannot be fetched or removed")
    if not (wanted := origin(name, engine)):
        weights = registry.engine(engine).weights
        raise SettingsError(
            f"{name!r} is no model of {engine} that can be fetched: `v2t models list` shows the known names"
            + (", and one of the hub is org/name" if weights and weights.any_repository else "")
        )
    return wanted


@contextlib.asynccontextmanager
async def _store(settings: Settings, *, needed: bool = False) -> AsyncGenerator[ObjectStore | None]:
    """The fleet's store; unless it is `needed`, None if there is no broker, or none that can be reached."""
    if not (settings.nats_url or find_running(settings.home)):
        if needed:
            raise SettingsError("no broker is set up: set NATS_URL to the fleet's, or start one here with v2t up")
        yield None
        return
    async with contextlib.AsyncExitStack() as stack:
        store = None
        try:
            store = (await stack.enter_async_context(session(settings, work=False, set_up_again=needed))).store
        except (BrokerError, StoreError) as error:
            if needed:
                raise
            click.echo(f"v2t: this does not cover the fleet: {error}", err=True)
        yield store


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    used = moment(row["used"]) if row["used"] else ""
    return (row["model"], row["engine"], size(row["bytes"]), used, "shared" if row["fleet"] else "", row["here"])


def _rows(settings: Settings, shared: dict[str, Manifest]) -> list[dict[str, Any]]:
    """A row for each model that is here, or that the fleet shares."""
    rows: dict[str, dict[str, Any]] = {}
    for kept in Models(settings).folder.kept():
        rows[kept.key] = _row(kept.key, kept.name, kept.size, "yes" if kept.whole else "in part", kept.used)
    for engine, known in names().items():
        for name in known - ALIASES.keys():
            wanted = origin(name, engine)
            if wanted and wanted.key not in rows and (folder := hub.cached(wanted)):
                held = sum(path.stat().st_size for path in hub.files_of(wanted, folder))
                rows[wanted.key] = _row(wanted.key, name, held, str(folder), None)
    for key, manifest in shared.items():
        rows.setdefault(key, _row(key, manifest.name, manifest.size, "", None))["fleet"] = True
    return sorted(rows.values(), key=lambda row: (row["engine"], row["model"]))


def _row(key: str, name: str, held: int, here: str, used: float | None) -> dict[str, Any]:
    engine = key.partition("/")[0]
    return {"model": name, "engine": engine, "bytes": held, "here": here, "used": used, "fleet": False}
