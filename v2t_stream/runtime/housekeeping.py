"""Periodic housekeeping. One of the running intakes does it, so it needs no process of its own."""

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

import nats.errors

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, V2TError
from v2t_stream.fleet.presence import Presence, fleet
from v2t_stream.jobs.superseded import sweep_superseded
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore

if TYPE_CHECKING:
    from v2t_stream.jobs.upload_sync import UploadSync
    from v2t_stream.store.minio_buckets import Announces

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 300.0  # seconds between two looks at the upload bucket
_SWEEP_EVERY: Final = 3600.0  # seconds between two sweeps for objects that nothing needs
_SWEPT: Final = ("media", "transcripts")  # where workers write; sharing a model sweeps models/
_AGAIN: Final = 15.0  # seconds


def promise(announces: "Announces", bucket: str) -> str:
    """What happens to files that users put into `bucket`."""
    sentence, late = f"a file put into the bucket {bucket} starts a job", f"within {LOOK_EVERY / 60:g} minutes"
    return {
        "bucket": sentence,
        "server": f"{sentence}, at once if the server is set up to announce uploads to NATS, otherwise {late}",
        "nothing": f"{sentence} only {late}",
    }[announces]


async def keep_house(
    connection: Connection, store: ObjectStore, settings: Settings, presence: Presence, *, again: float = _AGAIN
) -> None:
    """Until cancelled: pick up uploads that were not announced, and remove objects that nothing needs.

    `again`: seconds until the next look after one that failed.
    """
    upload_sync = _upload_sync(connection, store, settings)
    swept = -math.inf
    while True:
        try:
            if await _is_first(connection, presence):
                if upload_sync and (announced := (await upload_sync.run())[0]):
                    log.info("announced %d uploads that had no job", announced)
                if time.monotonic() - swept > _SWEEP_EVERY:
                    removed = await sweep_superseded(connection, store)
                    removed += sum([await store.sweep(top) for top in _SWEPT])
                    log.info("looked through the store: %d objects that nothing needs are removed", removed)
                    swept = time.monotonic()
            pause = LOOK_EVERY
        except Denied as error:
            log.warning("%s", error)  # for as long as this broker has an older release's roles
            pause = LOOK_EVERY
        except (V2TError, nats.errors.Error, TimeoutError) as error:
            log.warning("%s", error)
            pause = again
        await asyncio.sleep(pause)


def _upload_sync(connection: Connection, store: ObjectStore, settings: Settings) -> "UploadSync | None":
    if not settings.minio_endpoint:
        return None
    from v2t_stream.jobs.upload_sync import UploadSync  # noqa: PLC0415
    from v2t_stream.store.minio_store import MinioStore  # noqa: PLC0415  # its SDK takes a while to import

    return UploadSync(connection, store, settings) if isinstance(store, MinioStore) else None


async def _is_first(connection: Connection, presence: Presence) -> bool:
    """Whether this one, among the live intakes, does it for all."""
    ours = presence.info().key
    return ours <= min((info.key for info in await fleet(connection) if info.stage == presence.stage), default=ours)
