"""How a broker was set up, by its own metadata."""

from v2t_stream.broker.connection import Connection
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import JOBS, LAYOUT_KEY, STORE_KEY


async def store_in_use(connection: Connection) -> str:
    """The store where this broker's jobs keep their files; empty if it was never set up."""
    return (await _metadata(connection)).get(STORE_KEY, "")


async def layout_in_use(connection: Connection) -> int:
    """The LAYOUT of the release that set up this broker; 0 if none has, or if that release did not say."""
    return int((await _metadata(connection)).get(LAYOUT_KEY, 0))


async def _metadata(connection: Connection) -> dict[str, str]:
    info = await connection.find(f"STREAM.INFO.{JOBS}")
    return info["config"].get("metadata") or {} if info else {}


async def is_applied(connection: Connection, stage: str) -> bool:
    """Whether the consumers of `stage` exist."""
    row = stage_row(stage)
    return all([await connection.find(f"CONSUMER.INFO.{row.stream}.{one.durable}") for one in row.consumers])
