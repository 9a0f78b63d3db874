"""Whether any node in the fleet can do a job, by the nodes' announcements."""

from collections.abc import Iterable

from schemas.options import Options
from v2t_stream.broker.connection import Connection
from v2t_stream.engines.refusal import NodeOffers, refusal
from v2t_stream.fleet.presence import NodeInfo, fleet


async def refused(connection: Connection, options: Options) -> str | None:
    """Why no live node can do such a job, and which could; None if one can or may. Raises BrokerError."""
    return judged(await fleet(connection, "transcribe"), options)


def judged(nodes: Iterable[NodeInfo], options: Options) -> str | None:
    """See `refused`. A node without announced offers may be able: an older one, or one that is restarting."""
    found = list(nodes)
    if not all(info.is_alive and info.offers for info in found):
        return None
    return refusal([NodeOffers(info.node, frozenset(info.takes), info.offers) for info in found], options)
