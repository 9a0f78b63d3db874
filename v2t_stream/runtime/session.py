"""A command's session: a connection and, if no broker is set up, the broker and stages behind it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from schemas.options import Options
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import Broker, embedded_broker
from v2t_stream.broker.locks import try_lock
from v2t_stream.broker.login import Login
from v2t_stream.broker.up import is_kept
from v2t_stream.errors import Denied, SettingsError
from v2t_stream.fleet.ability import refused
from v2t_stream.runtime.set_up import make_ready, set_up
from v2t_stream.runtime.stores import open_store
from v2t_stream.runtime.supervisor import supervised
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.epochs import renew_if_rolled_back
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import INBOX
from v2t_stream.transcription.missing import model_missing
from v2t_stream.transcription.providers import file_of, load, refusal

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0  # seconds between checks whether another command has left its stages to us


class Session(NamedTuple):
    connection: Connection
    store: ObjectStore
    url: str
    # Nothing stays here that goes on without this command: no broker is set up, and no `v2t up` runs.
    local: bool


@contextlib.asynccontextmanager
async def session(
    settings: Settings,
    *,
    work: bool,
    port: int | None = None,
    stays: bool = False,
    quiet: bool = True,
    arguments: Mapping[str, Sequence[str]] | None = None,
    options: Options | None = None,
    set_up_again: bool = False,
    change_store: bool = False,
    hand_over: bool = False,
) -> AsyncGenerator[Session]:
    """Connect to the broker of `settings`; without one, to the embedded broker, and start it if it is not running.

    `work`: also run the stages, unless another command of this machine does. `port`, `stays`: see `embedded_broker`.
    `quiet`: their logs go to files in the data directory. `arguments`: see `supervised`. `options`: of the coming job,
    if known, so that its model loads while the media downloads, and an impossible job fails at once. `set_up_again`:
    the user asked for it. `change_store`: see `set_up`. `hand_over`: see `embedded_broker`. Raises BrokerError,
    SettingsError, StoreError.
    """
    if settings.nats_url:
        async with _elsewhere(settings, options, set_up_again=set_up_again, change_store=change_store) as there:
            yield there
        return
    alone = stays or not is_kept(settings.home)
    if work and alone:
        _check_here(settings, options)
    async with (
        embedded_broker(settings.home, port=port, stays=stays, hand_over=hand_over) as broker,
        await connect(broker.url, name=f"v2t on {settings.node}") as connection,
    ):
        await set_up(connection, settings, change_store=change_store, told=set_up_again)
        await renew_if_rolled_back(connection, settings.home)  # before anything is submitted
        await connection.hold_to(INBOX)
        if options and not alone:
            await _check(connection, options)
        here = Session(connection, open_store(connection, settings), broker.url, local=alone)
        if not work:
            yield here
            return
        if options and broker.started_here and (reason := await model_missing(settings, options, here.store)):
            raise SettingsError(reason)
        stages = supervised(
            [row.name for row in STAGES],
            _ahead(settings, options).on(broker.url),
            arguments=arguments,
            log_folder=settings.home / "logs" if quiet else None,
        )
        async with _run_here(stages, settings.home / "broker" / "stages.lock", broker):
            yield here


@contextlib.asynccontextmanager
async def _elsewhere(
    settings: Settings, options: Options | None, *, set_up_again: bool, change_store: bool
) -> AsyncGenerator[Session]:
    """See `session`: the broker of NATS_URL, where nodes do the work."""
    async with await connect(settings.nats_url, name=f"v2t on {settings.node}", login=Login.of(settings)) as connection:
        if set_up_again:
            await set_up(connection, settings, change_store=change_store, told=True)
        else:
            with contextlib.suppress(Denied):  # roles that may not look, such as submitters, get errors later
                await make_ready(connection, settings, ["intake"])
                if options:
                    await _check(connection, options)
        with contextlib.suppress(Denied):
            await connection.hold_to(INBOX)
        yield Session(connection, open_store(connection, settings), settings.nats_url, local=False)


def _check_here(settings: Settings, options: Options | None) -> None:
    """Raises SettingsError if the providers of this machine are set up wrong, or cannot do such a job."""
    providers = load(settings)
    if options and (reason := refusal(providers, options, settings.model)):
        raise SettingsError(reason)


async def _check(connection: Connection, options: Options) -> None:
    """Raises SettingsError if no node can do such a job."""
    if reason := await refused(connection, options):
        raise SettingsError(reason)


@contextlib.asynccontextmanager
async def _run_here(stages: AbstractAsyncContextManager[None], lock: Path, broker: Broker) -> AsyncGenerator[None]:
    """Run `stages` while the block runs: at once, or when the command that runs them now has ended.

    Others rely on our stages, so they go on after the block until nobody uses the broker.
    """
    ours = False

    async def run() -> None:
        nonlocal ours
        while not try_lock(file.fileno()):  # noqa: ASYNC110  # other processes cannot set our Event
            await asyncio.sleep(_LOOK_EVERY)
        ours = True
        async with stages:
            await asyncio.Event().wait()

    with lock.open("w") as file:
        running = asyncio.create_task(run())
        try:
            async with broker.shared(lambda: ours):
                yield
        finally:
            running.cancel()
            await asyncio.wait({running})


def _ahead(settings: Settings, options: Options | None) -> Settings:
    """The settings of stages that run for only one command."""
    if options is None:
        return settings
    if (options.engine or options.model) and file_of(settings).exists():
        return settings  # the job will not use the chain's own model
    return msgspec.structs.replace(
        settings, warm=True, engine=options.engine or settings.engine, model=options.model or settings.model
    )
