"""What a broker was set up as, as it tells itself."""

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.topology.streams import JOBS, LAYOUT_KEY, STORE_KEY, stage_row


async def store_in_use(connection: Connection) -> str:
    """What the jobs of this broker keep their files in, as it was told; empty where it was never set up."""
    return (await _metadata(connection)).get(STORE_KEY, "")


async def layout_in_use(connection: Connection) -> int:
    """The LAYOUT of the release that set up this broker; 0 where none has, or one that did not say."""
    return int((await _metadata(connection)).get(LAYOUT_KEY, 0))


async def _metadata(connection: Connection) -> dict[str, str]:
    try:
        config = (await connection.api(f"STREAM.INFO.{JOBS}"))["config"]
    except BrokerError as error:
        if "not found" not in str(error):
            raise
        return {}
    return config.get("metadata") or {}


async def is_applied(connection: Connection, stage: str) -> bool:
    """Whether the consumers of `stage` exist."""
    row = stage_row(stage)
    try:
        for consumer in row.consumers:
            await connection.api(f"CONSUMER.INFO.{row.stream}.{consumer.durable}")
    except BrokerError as error:
        if "not found" not in str(error):
            raise
        return False
    return True
