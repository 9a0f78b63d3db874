"""Live processes: each announces itself once a second, and expires when it stops."""

import asyncio
import contextlib
import functools
import math
import os
import re
import time
from collections import deque
from collections.abc import Mapping
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
FETCHING: Final = "fetching"  # prefix of a process's state while it fetches a model
_SLOWEST: Final = 9  # the last rank of JetStream's priority groups; 0 is served first
_DELETED: Final = {"KV-Operation": "DEL"}  # a key-value bucket's mark (ADR-8)
_REMEMBERED: Final = 20  # chunks whose speed counts


@functools.cache  # it reads a file, and is needed every second
def version() -> str:
    """The version of this release."""
    return version_of("v2t-stream")


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process announces about itself, or a supervisor about its stage that is down."""

    node: str
    stage: str
    pid: int  # of the process that announces
    version: str
    layout: int = 0  # its topology's; 0 from release 0.1
    state: str = ""  # ready, busy, loading, fetching …, or the time until a restart; empty from an older release
    accelerator: str = ""
    engine: str = ""
    model: str = ""
    slots: int = 0
    queues: tuple[str, ...] = ()  # consumers that it pulls from; empty from an older release
    takes: tuple[str, ...] = ()  # accelerators whose chunks it takes; this and the next are empty from an older release
    offers: tuple[Offer, ...] = ()  # what its providers can do
    lacking: dict[str, str] = {}  # models that it could not get, such as faster-whisper/small, and why
    fetched: float = 0.0  # the share of a model that has arrived, while it fetches one
    working: dict[str, float] = {}  # seconds in progress by subject
    sending: tuple[str, ...] = ()  # subjects whose results wait to be sent
    speed: float | None = None  # seconds of media transcribed per second
    done: int = 0  # messages since it started
    uptime: float = 0.0  # seconds
    last_error: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; its supervisor announces a dead one."""
        return not self.state.startswith("restarting")

    def holds(self, subject: str) -> bool:
        """Whether the process works on this subject, or still has to send its results."""
        return subject in self.working or subject in self.sending

    @property
    def key(self) -> str:
        """The subject of the announcement."""
        return key(self.node, self.stage, self.pid)


def key(node: str, stage: str, pid: int) -> str:
    """The subject on which the process `pid` announces `stage`."""
    return f"$KV.v2t_nodes.{re.sub(r'[^A-Za-z0-9_=-]', '_', node)}.{stage}.{pid}"


@dataclass
class Presence:
    """The state that this process announces; the worker and its stage keep it up to date."""

    node: str
    stage: str
    accelerator: str = ""
    engine: str = ""
    model: str = ""
    slots: int = 0
    queues: tuple[str, ...] = ()  # from the first pull on
    takes: tuple[str, ...] = ()  # accelerators
    offers: tuple[Offer, ...] = ()  # of its providers
    lacking: Mapping[str, str] = field(default_factory=dict)  # see NodeInfo
    tally: Tally = field(default_factory=Tally)
    last_error: str = ""
    loading: bool = False  # the model, before the first chunk
    fetching: str = ""  # the model, and how much of it has arrived
    fetched: float = 0.0  # the same, as a share
    since: dict[str, float] = field(default_factory=dict)  # start of work by subject, by the monotonic clock
    sending: set[str] = field(default_factory=set)  # subjects whose results wait for their turn
    _born: float = field(default_factory=time.monotonic)
    _runs: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def measured(self, audio: float, seconds: float) -> None:
        """Record a chunk: its seconds of media, and its share of the engine's seconds."""
        self._runs.append((audio, seconds))
        self.tally.heard(audio, seconds)

    @property
    def speed(self) -> float | None:
        """Seconds of media per engine second, over the latest chunks; None before the first."""
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
            lacking=dict(self.lacking),
            fetched=self.fetched if self.fetching else 0.0,
            working={subject: now - since for subject, since in self.since.items()},
            sending=tuple(sorted(self.sending)),
            speed=self.speed,
            done=self.tally.outcomes["done"],
            uptime=now - self._born,
            last_error=self.last_error,
        )


def rank(speed: float | None) -> int:
    """The priority group rank of a node of this speed: one for each doubling, from 0.5 times real time up.

    A node without measurements starts in the middle, until its first chunks.
    """
    if not speed:
        return _SLOWEST // 2
    return min(_SLOWEST, max(0, _SLOWEST - 1 - math.floor(math.log2(speed))))


async def announce(connection: Connection, presence: Presence) -> None:
    """Announce this process until cancelled: in the bucket, and as a NATS micro service for `nats micro ls`."""
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
        with contextlib.suppress(nats.errors.Error):  # an absent broker gets it when it returns
            await service.start()
        while True:
            await tell(connection, presence.info())
            await asyncio.sleep(ANNOUNCE_EVERY)
    finally:
        await forget(connection, key(presence.node, presence.stage, os.getpid()))
        with contextlib.suppress(nats.errors.Error):
            await service.stop()


async def tell(connection: Connection, info: NodeInfo) -> None:
    """Publish `info` to the fleet's bucket; do not keep it for an absent broker, because it would be stale."""
    if connection.client.is_connected:
        with contextlib.suppress(nats.errors.Error):  # the next one is a second away
            await connection.client.publish(info.key, msgspec.json.encode(info))


async def check_may_work(connection: Connection, node: str) -> None:
    """Raises Denied if this user may not announce a node, and so may not run one; and BrokerError."""
    await connection.store(key(node, "node", os.getpid()), b"", _DELETED)


async def forget(connection: Connection, told_on: str) -> None:
    """Mark an announcement as deleted, in a key-value bucket's way (ADR-8), before it expires."""
    if connection.client.is_connected:
        with contextlib.suppress(nats.errors.Error):
            await connection.client.publish(told_on, b"", headers=_DELETED)


async def fleet(connection: Connection, stage: str = "*") -> list[NodeInfo]:
    """All processes announced within the last seconds: those of `stage`, or of any.

    Raises BrokerError.
    """
    found = []
    for data in await connection.latest(NODES, f"$KV.v2t_nodes.*.{stage}.*"):
        with contextlib.suppress(msgspec.DecodeError):  # deleted, or from a newer release
            found.append(decode_as(NodeInfo, data))
    return sorted(found, key=lambda info: info.key)
