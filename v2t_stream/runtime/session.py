"""A command's session: a connection and, if no broker is set up, the broker and stages behind it."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.options import Options
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import Broker, embedded_broker, try_lock
from v2t_stream.broker.error_codes import NO_PEERS
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError, Denied, Refused, SettingsError, StoreError
from v2t_stream.fleet.ability import refused
from v2t_stream.retention import DAY
from v2t_stream.runtime.supervisor import supervised
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import UPLOADED, ObjectStore
from v2t_stream.topology.applied import is_applied, layout_in_use, store_in_use
from v2t_stream.topology.drift import Drift, compare
from v2t_stream.topology.epochs import renew_if_rolled_back
from v2t_stream.topology.provision import apply, drift
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import INBOX, LAYOUT
from v2t_stream.transcription.providers import file_of, load, refusal

if TYPE_CHECKING:
    from v2t_stream.store.minio_store import MinioStore

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


def open_store(connection: Connection, settings: Settings, *, timeout: float = 30.0) -> ObjectStore:
    """The store of `settings`: MinIO if MINIO_ENDPOINT is set, otherwise the broker's.

    `timeout`: seconds without progress until a step gives up.
    """
    if settings.minio_endpoint:
        return minio_store(settings, timeout=timeout)
    return JetStreamStore(connection, timeout=timeout)


async def set_up(connection: Connection, settings: Settings, *, change_store: bool = False, told: bool = False) -> None:
    """Create missing streams, consumers and buckets, and update existing ones.

    `told`: the user asked for it, so also change how long existing ones keep things to what `settings` say. Raises
    BrokerError, StoreError; and SettingsError if the jobs of this broker keep their files in another store than that of
    `settings`, unless `change_store` moves them to it from now on.
    """
    if not change_store:
        await check_store(connection, settings)
    store = open_store(connection, settings)
    retention = settings.retention
    try:
        await store.create(
            media_max_age=retention.media,
            transcript_max_age=retention.transcripts,
            replicas=settings.replicas,
            keep=not told,
        )
        # Last, because others rely on the store after this.
        await apply(connection, _store_of(settings), retention, replicas=settings.replicas, told=told)
    except (BrokerError, StoreError) as error:
        refusal = error.__cause__ if isinstance(error, StoreError) else error
        if settings.replicas > 1 and isinstance(refusal, Refused) and refusal.code in NO_PEERS:
            raise BrokerError(
                f"V2T_REPLICAS={settings.replicas} needs a cluster of that many NATS servers ({error}): start them "
                "as nats/cluster.conf says, or set it to 1"
            ) from error
        raise


async def drifted(connection: Connection, settings: Settings) -> list[Drift]:
    """How streams and consumers differ from `settings` and the topology. Raises BrokerError."""
    return await drift(connection, _store_of(settings), settings.retention, replicas=settings.replicas)


async def store_drifted(store: ObjectStore, settings: Settings) -> list[Drift]:
    """How the buckets of `store` differ from `settings`. Raises StoreError."""
    retention, lifetimes = settings.retention, await store.lifetimes()
    found = []
    wished = {"media": retention.media, "transcripts": retention.transcripts, "models": 0.0}
    if not settings.minio_endpoint:
        wished[UPLOADED] = retention.media  # MinIO has a separate bucket for these
    for bucket, wanted in wished.items():
        config = {"max_age": int(lifetimes[bucket] * 1e9)} if bucket in lifetimes else None
        kept = math.ceil(wanted / DAY) * DAY if settings.minio_endpoint else wanted  # S3 counts whole days
        found += compare(f"bucket {bucket}", config, {"max_age": int(kept * 1e9)})
    return found


async def make_ready(connection: Connection, settings: Settings, stages: Sequence[str]) -> None:
    """Check that this release or a newer one has set up what `stages` need; if not, set up everything.

    Leaves what exists as it is: a user who runs a stage need not be allowed to change it. Raises as `set_up` does, and
    BrokerError, which says who must do it, if this user may not.
    """
    is_there = all([await is_applied(connection, stage) for stage in stages])
    if is_there and await layout_in_use(connection) >= LAYOUT:
        await check_store(connection, settings)
        return
    try:
        await set_up(connection, settings)
    except Denied as error:
        if not is_there:
            raise BrokerError(
                f"the streams are not set up at {connection.url}, and {error}: have an operator run v2t topology apply"
            ) from error
        await check_store(connection, settings)
        log.warning("an older release set up %s: have an operator run v2t topology apply", connection.url)


async def check_store(connection: Connection, settings: Settings) -> None:
    """Raises SettingsError if other processes of this broker keep their files elsewhere."""
    theirs, ours = await store_in_use(connection), _store_of(settings)
    if theirs in (ours, ""):
        return
    raise SettingsError(
        f"the jobs of this broker keep their files in {theirs}, but the settings here say {ours}: set MINIO_ENDPOINT "
        "and MINIO_BUCKET_PREFIX as on the other nodes, or move the whole fleet to this store with v2t topology apply "
        "--change-store"
    )


async def announce_uploads(settings: Settings) -> str:
    """Let MinIO announce uploads; returns why it does not, or an empty string."""
    if not settings.minio_endpoint:
        return ""
    try:
        await minio_store(settings).announce_uploads()
    except StoreError as error:
        return f"uploads start jobs only when the fleet checks the bucket, every few minutes: {error}"
    return ""


def minio_store(settings: Settings, *, timeout: float = 30.0) -> "MinioStore":
    """`timeout`: see MinioStore. Raises SettingsError if the store of `settings` is not MinIO."""
    if not settings.minio_endpoint:
        raise SettingsError(
            "MINIO_ENDPOINT is not set, so there is no bucket: set it, or submit files with v2t convert --input"
        )
    from v2t_stream.store.minio_store import MinioStore  # noqa: PLC0415  # its SDK takes a while to import

    return MinioStore(settings, timeout=timeout)


def _store_of(settings: Settings) -> str:
    """The store in words, without MinIO's address, which differs from machine to machine."""
    return f"MinIO ({settings.minio_bucket_prefix}*)" if settings.minio_endpoint else "NATS"
