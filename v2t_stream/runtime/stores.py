"""Which object store the settings mean."""

from typing import TYPE_CHECKING

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import SettingsError, StoreError
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import ObjectStore

if TYPE_CHECKING:
    from v2t_stream.store.minio_store import MinioStore


def open_store(connection: Connection, settings: Settings, *, timeout: float = 30.0) -> ObjectStore:
    """The store of `settings`: MinIO if MINIO_ENDPOINT is set, otherwise the broker's.

    `timeout`: seconds without progress until a step gives up.
    """
    if settings.minio_endpoint:
        return minio_store(settings, timeout=timeout)
    return JetStreamStore(connection, timeout=timeout)


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
            "MINIO_ENDPOINT is not set, so there is no bucket: set it, or submit files with v2t convert FILE"
        )
    from v2t_stream.store.minio_store import MinioStore  # noqa: PLC0415  # its SDK takes a while to import

    return MinioStore(settings, timeout=timeout)
