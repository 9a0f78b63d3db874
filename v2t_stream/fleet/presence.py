"""Who is there: every process tells about itself once a second, and is forgotten when it stops."""

import asyncio
import contextlib
import functools
import math
import os
import re
import time
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import Final

import msgspec
import nats.errors
from nats.micro.service import Service, ServiceConfig

from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.engines.offer import Offer
from v2t_stream.fleet.tally import Tally
from v2t_stream.topology.streams import LAYOUT, NODES

ANNOUNCE_EVERY: Final = 1.0  # seconds
FETCHING: Final = "fetching"  # what the state of a process begins with while a model is on its way to it
_SLOWEST: Final = 9  # the last rank JetStream's priority groups know; 0 is served first
_DELETED: Final = {"KV-Operation": "DEL"}  # as a key-value bucket marks it (ADR-8)
_REMEMBERED: Final = 20  # chunks whose speed counts


@functools.cache  # it reads a file, and is told every second
def version() -> str:
    """That of this release."""
    return version_of("v2t-stream")


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process tells about itself, or a supervisor about a stage of its that is down."""

    node: str
    stage: str
    pid: int  # of the process that tells
    version: str
    layout: int = 0  # of its topology; 0 from release 0.1
    state: str = ""  # ready, busy, loading, fetching …, or how long until a restart; empty from an older release
    accelerator: str = ""
    engine: str = ""
    model: str = ""
    slots: int = 0
    queues: tuple[str, ...] = ()  # consumers that it pulls from; empty from an older release
    takes: tuple[str, ...] = ()  # accelerators whose chunks it takes; empty from an older release, as the next
    offers: tuple[Offer, ...] = ()  # what its providers can do
    working: dict[str, float] = {}  # subjects in work, with the seconds that each has been
    sending: tuple[str, ...] = ()  # subjects whose results wait for their turn to be sent
    speed: float | None = None  # seconds of media transcribed in a second
    done: int = 0  # messages since it started
    uptime: float = 0.0  # seconds
    last_error: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; of one that has died its supervisor tells."""
        return not self.state.startswith("restarting")

    def holds(self, subject: str) -> bool:
        """Whether it has this in work, or has still to send what came of it."""
        return subject in self.working or subject in self.sending

    @property
    def key(self) -> str:
        """The subject on which it is told."""
        return key(self.node, self.stage, self.pid)


def key(node: str, stage: str, pid: int) -> str:
    """The subject on which the process `pid` tells about `stage`."""
    return f"$KV.v2t_nodes.{re.sub(r'[^A-Za-z0-9_=-]', '_', node)}.{stage}.{pid}"


@dataclass
class Presence:
    """The state of this process as others are to see it; the worker and its stage keep it up to date."""

    node: str
    stage: str
    accelerator: str = ""
    engine: str = ""
    model: str = ""
    slots: int = 0
    queues: tuple[str, ...] = ()  # from the first pull on
    takes: tuple[str, ...] = ()  # accelerators
    offers: tuple[Offer, ...] = ()  # of its providers
    tally: Tally = field(default_factory=Tally)
    last_error: str = ""
    loading: bool = False  # the model, ahead of the first chunk
    fetching: str = ""  # which model, and how much of it is here
    since: dict[str, float] = field(default_factory=dict)  # subjects in work, by the monotonic clock
    sending: set[str] = field(default_factory=set)  # subjects whose results wait for their turn
    _born: float = field(default_factory=time.monotonic)
    _runs: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def measured(self, audio: float, seconds: float) -> None:
        """Take note of a chunk: its seconds of media, and its share of the engine's seconds."""
        self._runs.append((audio, seconds))
        self.tally.heard(audio, seconds)

    @property
    def speed(self) -> float | None:
        """Seconds of media in a second of engine, over the latest chunks; None before the first."""
        spent = sum(seconds for _, seconds in self._runs)
        return sum(audio for audio, _ in self._runs) / spent if spent else None

    @property
    def rank(self) -> int:
        return rank(self.speed)

    @property
    def state(self) -> str:
        if self.fetching:
            return f"{FETCHING} {self.fetching}"
        if self.loading:
            return "loading"
        return "busy" if self.since else "ready"

    def info(self) -> NodeInfo:
        now = time.monotonic()
        return NodeInfo(
            node=self.node,
            stage=self.stage,
            pid=os.getpid(),
            version=version(),
            layout=LAYOUT,
            state=self.state,
            accelerator=self.accelerator,
            engine=self.engine,
            model=self.model,
            slots=self.slots,
            queues=self.queues,
            takes=self.takes,
            offers=self.offers,
            working={subject: now - since for subject, since in self.since.items()},
            sending=tuple(sorted(self.sending)),
            speed=self.speed,
            done=self.tally.outcomes["done"],
            uptime=now - self._born,
            last_error=self.last_error,
        )


def rank(speed: float | None) -> int:
    """The rank in a priority group of a node of this speed: one for each doubling, from 0.5 times real time up.

    A node that has not measured itself yet stands in the middle: its first chunks tell.
    """
    if not speed:
        return _SLOWEST // 2
    return min(_SLOWEST, max(0, _SLOWEST - 1 - math.floor(math.log2(speed))))


async def announce(connection: Connection, presence: Presence) -> None:
    """Tell about this process until cancelled: in the bucket, and as a NATS micro service for `nats micro ls`."""
    service = Service(
        connection.client,
        ServiceConfig(
            name=f"v2t-{presence.stage}",
            version=version(),
            description=f"the stage {presence.stage} of v2t-stream",
            metadata={"node": presence.node, "accelerator": presence.accelerator, "engine": presence.engine},
        ),
    )
    try:
        with contextlib.suppress(nats.errors.Error):  # where the broker just went, it hears of it when it is back
            await service.start()
        while True:
            await tell(connection, presence.info())
            await asyncio.sleep(ANNOUNCE_EVERY)
    finally:
        await forget(connection, key(presence.node, presence.stage, os.getpid()))
        with contextlib.suppress(nats.errors.Error):
            await service.stop()


async def tell(connection: Connection, info: NodeInfo) -> None:
    """Put `info` where the fleet is looked up; nothing is kept for a broker that is away, as it would be stale then."""
    if connection.client.is_connected:
        with contextlib.suppress(nats.errors.Error):  # the next one is a second away
            await connection.client.publish(info.key, msgspec.json.encode(info))


async def check_may_work(connection: Connection, node: str) -> None:
    """Raises Denied where this user may not tell about a node, and so not run one; and BrokerError."""
    await connection.store(key(node, "node", os.getpid()), b"", _DELETED)


async def forget(connection: Connection, told_on: str) -> None:
    """Mark what was told on a key as deleted, as a key-value bucket does (ADR-8), before it is too old anyway."""
    if connection.client.is_connected:
        with contextlib.suppress(nats.errors.Error):
            await connection.client.publish(told_on, b"", headers=_DELETED)


async def fleet(connection: Connection, stage: str = "*") -> list[NodeInfo]:
    """All processes that told about themselves within the last seconds, or were told of: those of `stage`, or of any.

    Raises BrokerError.
    """
    found = []
    for data in await connection.latest(NODES, f"$KV.v2t_nodes.*.{stage}.*"):
        with contextlib.suppress(msgspec.DecodeError):  # deleted, or of a newer release
            found.append(decode_as(NodeInfo, data))
    return sorted(found, key=lambda info: info.key)
