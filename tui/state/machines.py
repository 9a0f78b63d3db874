"""From processes to machines: a row for each process that transcribes, and one for each node without one."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from tui.state.nodes import Seen
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.text import one_line
from v2t_stream.topology.stages import STAGES
from v2t_stream.units import clock

_LOOK_LOST = 5.0  # seconds without a sign of life


class Machine(NamedTuple):
    """One node and the process that transcribes there; a node with several of those has several rows."""

    key: str
    node: str
    info: NodeInfo  # of the process that transcribes; without one, of another
    stages: str  # what runs there
    trouble: str  # what is wrong with its stages, as a sentence
    speeds: list[float]
    seen_at: float  # by the monotonic clock
    is_alive: bool

    @property
    def transcribes(self) -> bool:
        return self.info.stage == "transcribe"

    @property
    def slots(self) -> str:
        return f"{len(self.info.working)}/{self.info.slots}" if self.is_alive and self.info.slots else ""

    @property
    def note(self) -> str:
        if not self.is_alive:
            return "stopped responding: any chunk it had goes to another node within half a minute"
        up = f"{self.info.state or 'working'} · up {clock(self.info.uptime)} · version {self.info.version}"
        error = f" · last error: {one_line(self.info.last_error, 200)}" if self.info.last_error else ""
        return self.trouble or up + error


def machines(seen: Iterable[Seen]) -> list[Machine]:
    """The machines, by name; the latest look counts as the present."""
    ordered = sorted(seen, key=lambda one: one.info.key)
    latest = max((one.at for one in ordered), default=0.0)
    found: list[Machine] = []
    for node, group in groupby(sorted(ordered, key=lambda one: one.info.node), key=lambda one: one.info.node):
        processes = list(group)
        mains = [one for one in processes if one.info.stage == "transcribe"] or processes[:1]
        alive = {one.info.stage for one in processes if one.info.is_alive and latest - one.at < _LOOK_LOST}
        trouble = [
            f"{one.info.stage} {one.info.state}: it {one.info.last_error}" for one in processes if not one.info.is_alive
        ]
        found += [
            Machine(
                one.info.key,
                node,
                one.info,
                _stages(alive),
                one_line("; ".join(trouble), 300),
                list(one.speeds),
                one.at,
                latest - one.at < _LOOK_LOST and bool(alive),
            )
            for one in mains
        ]
    return found


def _stages(alive: set[str]) -> str:
    names = [row.name for row in STAGES if row.name in alive]
    if len(names) == len(STAGES):
        return "all"
    return names[0] if len(names) == 1 else f"{len(names)} of {len(STAGES)}" if names else "none"
