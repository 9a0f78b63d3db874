"""Kills and stops parts of a pipeline at random, by a seed."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from typing import Final

from tests.harness import ALL_STAGES, Node, Server
from tests.observed import ACK_WAIT
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import fleet
from v2t_stream.host.tasks import end
from v2t_stream.topology.stages import stage_row

_STARTS: Final = 10.0  # seconds that a process may take to start
_HAS_WORK: Final = 1.5  # seconds to wait until a stage has work in progress
_STOPPED: Final = 2  # processes at once, at most
_KINDS: Final = {"broker": 1, "stop": 4, "kill": 8}  # with their weights


class Strikes:
    """The parts that can be struck, and how often each was."""

    def __init__(self, connection: Connection, server: Server, nodes: list[Node], seed: int) -> None:
        self._connection = connection
        self._server = server
        self.nodes = nodes
        self._random = random.Random(f"strikes {seed}")
        self._stopped: dict[asyncio.Task[None], tuple[Node, str]] = {}
        self.counts: Counter[str] = Counter()
        self.in_hand = 0  # strikes on a stage with a message in progress

    async def strike(self) -> None:
        """Kill or stop a running part while it has work, and restart what was killed."""
        (kind,) = self._random.choices([*_KINDS], [*_KINDS.values()])
        stage = self._random.choice(ALL_STAGES)
        node = self._random.choice(self.nodes)
        seconds = ACK_WAIT * self._random.uniform(1.2, 3)
        moment, pause = self._random.uniform(0, 0.05), self._random.uniform(0, 0.5)
        if kind == "stop" and len(self._stopped) >= _STOPPED:
            kind = "kill"
        if kind != "broker":
            await self._is_up(node, stage)
        self.in_hand += await self._has_work(ALL_STAGES if kind == "broker" else (stage,))
        await asyncio.sleep(moment)
        if kind == "broker":
            self._server.kill()
        elif kind == "kill":
            node.kill(stage)
        elif (node, stage) not in self._stopped.values():
            stopping = asyncio.create_task(_stop(node, stage, seconds))
            self._stopped[stopping] = node, stage
            stopping.add_done_callback(self._stopped.pop)
        self.counts["broker" if kind == "broker" else f"{kind} {stage}"] += 1
        await asyncio.sleep(pause)
        self.revive()

    def revive(self) -> None:
        """Start what is not running, as a supervisor does; what is stopped stays stopped."""
        self._server.revive()
        for node in self.nodes:
            for stage in ALL_STAGES:
                if not node.is_running(stage):
                    node.start(stage)

    async def end(self) -> None:
        """From here on nothing is stopped any more."""
        await end(*self._stopped)
        self.revive()

    async def _is_up(self, node: Node, stage: str) -> None:
        """Wait until a process works, because one that dies while starting has nothing to lose."""
        give_up = time.monotonic() + _STARTS
        while time.monotonic() < give_up and (node, stage) not in self._stopped.values():
            with contextlib.suppress(BrokerError):
                if node.pid(stage) in {info.pid for info in await fleet(self._connection)}:
                    return
            await asyncio.sleep(0.05)

    async def _has_work(self, stages: tuple[str, ...]) -> bool:
        """Whether one of the stages gets a message within a moment."""
        give_up = time.monotonic() + _HAS_WORK  # asyncio.timeout would be lost now and then in wait_for of nats-py
        while time.monotonic() < give_up:
            for stage in stages:
                row = stage_row(stage)
                name = f"CONSUMER.INFO.{row.stream}.{row.consumers[-1].durable}"
                with contextlib.suppress(BrokerError):
                    if (await self._connection.api(name))["num_ack_pending"]:
                        return True
            await asyncio.sleep(0.002)
        return False


async def _stop(node: Node, stage: str, seconds: float) -> None:
    """Stop a process for this long, unless it is killed meanwhile."""
    pid = node.pid(stage)
    node.signal(stage, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        if node.pid(stage) == pid:
            node.signal(stage, signal.SIGCONT)
