"""The processes of the fleet as they were seen: how fast each has been, and which are gone."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from v2t_stream.fleet.presence import NodeInfo

_SPEEDS: Final = 60  # looks
_REMEMBERED: Final = 600.0  # seconds until a process that is gone is forgotten


@dataclass
class Seen:
    """One process."""

    info: NodeInfo
    at: float  # when it was last heard of, by the monotonic clock
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=_SPEEDS))


class Nodes:
    """Remembers a process for some minutes after it is gone, unless another has taken its place."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}  # by the process' key

    def look(self, nodes: Iterable[NodeInfo], now: float) -> None:
        for info in nodes:
            seen = self._seen.setdefault(info.key, Seen(info, now))
            seen.info, seen.at = info, now
            seen.speeds.append(info.speed or 0.0)
        present = {(seen.info.node, seen.info.stage) for seen in self._seen.values() if seen.at == now}
        for key, seen in list(self._seen.items()):
            replaced = seen.at < now and (seen.info.node, seen.info.stage) in present
            if replaced or now - seen.at > _REMEMBERED:
                del self._seen[key]

    def all(self) -> list[Seen]:
        return list(self._seen.values())
