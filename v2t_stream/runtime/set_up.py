"""What a broker and its store need before stages can work, and how they are brought up to date."""

import logging
import math
from collections.abc import Sequence

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.error_codes import NO_PEERS
from v2t_stream.errors import BrokerError, Denied, Refused, SettingsError, StoreError
from v2t_stream.retention import DAY
from v2t_stream.runtime.stores import open_store
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import UPLOADED, ObjectStore
from v2t_stream.topology.applied import is_applied, layout_in_use, store_in_use
from v2t_stream.topology.drift import Drift, compare
from v2t_stream.topology.provision import apply, drift
from v2t_stream.topology.streams import LAYOUT

log = logging.getLogger(__name__)


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
    wished = {"media": retention.media, "transcripts": retention.transcripts, "models": 0.0, "voices": 0.0}
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


def _store_of(settings: Settings) -> str:
    """The store in words, without MinIO's address, which differs from machine to machine."""
    return f"MinIO ({settings.minio_bucket_prefix}*)" if settings.minio_endpoint else "NATS"
