"""What a command works in: a connection, and, where no broker is configured, the broker and stages behind it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, NamedTuple

from schemas.options import Options
from v2t_stream.embedded import Broker, embedded_broker, try_lock
from v2t_stream.errors import BrokerError, SettingsError
from v2t_stream.jetstream import Connection, connect
from v2t_stream.object_store import JetStreamStore
from v2t_stream.providers import file_of, load, refusal
from v2t_stream.settings import Settings
from v2t_stream.supervisor import supervised
from v2t_stream.topology import STAGES, apply, is_applied

_LOOK_EVERY: Final = 1.0  # seconds until we look again whether another command's stages are left to us


class Session(NamedTuple):
    connection: Connection
    store: JetStreamStore
    url: str
    local: bool  # no broker is configured, so this command runs everything itself or uses another command's


@contextlib.asynccontextmanager
async def session(
    settings: Settings,
    *,
    work: bool,
    port: int | None = None,
    quiet: bool = True,
    options: Options | None = None,
) -> AsyncGenerator[Session]:
    """Connect to the broker of `settings`; without one, to the embedded broker, started if it does not run yet.

    `work`: also run the stages, while no other command of this machine does. `port`: see `embedded_broker`.
    `quiet`: their logs go to files in the data directory. `options`: what is known to be asked of them, so that
    the model loads while the media is still on its way, and what cannot be done is told at once. Raises BrokerError,
    SettingsError.
    """
    providers = load(settings) if work and not settings.nats_url else []
    if providers and options and (reason := refusal(providers, options)):
        raise SettingsError(reason)
    if settings.nats_url:
        async with await connect(settings.nats_url, name=f"v2t on {settings.node}") as connection:
            if not await is_applied(connection, "intake"):
                await set_up(connection, settings)
            yield Session(connection, JetStreamStore(connection.client), settings.nats_url, local=False)
        return
    async with (
        embedded_broker(settings.home, port=port) as broker,
        await connect(broker.url, name=f"v2t on {settings.node}") as connection,
    ):
        store = JetStreamStore(connection.client)
        await set_up(connection, settings)
        if not work:
            yield Session(connection, store, broker.url, local=True)
            return
        stages = supervised(
            [row.name for row in STAGES],
            url=broker.url,
            node=settings.node,
            environment={"V2T_DATA_DIR": str(settings.home), **_ahead(settings, options)},
            log_folder=settings.home / "logs" if quiet else None,
        )
        async with _run_here(stages, settings.home / "broker" / "stages.lock", broker):
            yield Session(connection, store, broker.url, local=True)


@contextlib.asynccontextmanager
async def _run_here(stages: AbstractAsyncContextManager[None], lock: Path, broker: Broker) -> AsyncGenerator[None]:
    """Run `stages` while the block runs: from now on, or from when the command is gone that does by now.

    As others count on our stages, they go on after the block until nobody uses the broker.
    """
    ours = False

    async def run() -> None:
        nonlocal ours
        while not try_lock(file.fileno()):  # noqa: ASYNC110  # other processes set no Event of ours
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
    """The settings of stages that run for one command only."""
    if options is None:
        return {}
    if (options.engine or options.model) and file_of(settings).exists():
        return {}  # the chain's own model is not what will be needed
    known = {"V2T_ENGINE": options.engine, "V2T_MODEL": options.model}
    return {"V2T_WARM": "true", **{name: value for name, value in known.items() if value}}


async def set_up(connection: Connection, settings: Settings) -> None:
    """Create all streams, consumers and buckets that are not there yet. Raises BrokerError, StoreError."""
    try:
        await apply(connection, replicas=settings.replicas)
    except BrokerError as error:
        if settings.replicas > 1 and ("replicas > 1" in str(error) or "no suitable peers" in str(error)):
            raise BrokerError(
                f"V2T_REPLICAS={settings.replicas} needs a cluster of as many NATS servers ({error}): start them as "
                "nats/cluster.conf says, or set it to 1"
            ) from error
        raise
    await JetStreamStore(connection.client).create(
        media_max_age=settings.media_hours * 3600, replicas=settings.replicas
    )
