"""A command's session: a connection and, if no broker is set up, the broker and stages behind it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.options import Options
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import Broker, embedded_broker, try_lock
from v2t_stream.broker.login import Login
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
from v2t_stream.transcription.providers import file_of, load, refusal

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0  # seconds between checks whether another command has left its stages to us


class Session(NamedTuple):
    connection: Connection
    store: ObjectStore
    url: str
    local: bool  # no broker is set up, so this command runs everything itself or uses another command's


@contextlib.asynccontextmanager
async def session(
    settings: Settings,
    *,
    work: bool,
    port: int | None = None,
    quiet: bool = True,
    arguments: Mapping[str, Sequence[str]] | None = None,
    options: Options | None = None,
    set_up_again: bool = False,
    change_store: bool = False,
) -> AsyncGenerator[Session]:
    """Connect to the broker of `settings`; without one, to the embedded broker, and start it if it is not running.

    `work`: also run the stages, unless another command of this machine does. `port`: see `embedded_broker`. `quiet`:
    their logs go to files in the data directory. `arguments`: see `supervised`. `options`: of the coming job, if known,
    so that its model loads while the media downloads, and an impossible job fails at once. `set_up_again`: the user
    asked for it. `change_store`: see `set_up`. Raises BrokerError, SettingsError, StoreError.
    """
    providers = load(settings) if work and not settings.nats_url else []
    if providers and options and (reason := refusal(providers, options, settings.model)):
        raise SettingsError(reason)
    if settings.nats_url:
        async with await connect(
            settings.nats_url, name=f"v2t on {settings.node}", login=Login.of(settings)
        ) as connection:
            if set_up_again:
                await set_up(connection, settings, change_store=change_store, told=True)
            else:
                with contextlib.suppress(Denied):  # roles that may not look, such as submitters, get errors later
                    await make_ready(connection, settings, ["intake"])
                    if options and (reason := await refused(connection, options)):
                        raise SettingsError(reason)
            with contextlib.suppress(Denied):
                await connection.hold_to(INBOX)
            yield Session(connection, open_store(connection, settings), settings.nats_url, local=False)
        return
    async with (
        embedded_broker(settings.home, port=port) as broker,
        await connect(broker.url, name=f"v2t on {settings.node}") as connection,
    ):
        await set_up(connection, settings, change_store=change_store, told=set_up_again)
        await renew_if_rolled_back(connection, settings.home)  # before anything is submitted
        await connection.hold_to(INBOX)
        store = open_store(connection, settings)
        if not work:
            yield Session(connection, store, broker.url, local=True)
            return
        stages = supervised(
            [row.name for row in STAGES],
            url=broker.url,
            node=settings.node,
            environment={
                "V2T_DATA_DIR": str(settings.home),
                "V2T_ALLOW_ADDRESSES": settings.allow_addresses,
                **_ahead(settings, options),
            },
            arguments=arguments,
            log_folder=settings.home / "logs" if quiet else None,
        )
        async with _run_here(stages, settings.home / "broker" / "stages.lock", broker):
            yield Session(connection, store, broker.url, local=True)


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


def _ahead(settings: Settings, options: Options | None) -> dict[str, str]:
    """The settings of stages that run for only one command."""
    if options is None:
        return {}
    if (options.engine or options.model) and file_of(settings).exists():
        return {}  # the job will not use the chain's own model
    known = {"V2T_ENGINE": options.engine, "V2T_MODEL": options.model}
    return {"V2T_WARM": "true", **{name: value for name, value in known.items() if value}}
