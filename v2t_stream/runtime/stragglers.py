"""Redoes chunks that a slower node has held for too long, so that a job does not wait for its slowest machine."""

import asyncio
import random
from collections.abc import Iterable
from statistics import median
from typing import Final

import msgspec

from schemas.chunks import ChunkTask
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import ANNOUNCE_EVERY, NodeInfo, Presence, fleet
from v2t_stream.runtime.worker import Worker
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import CHUNKS

LATE: Final = 2.0  # times as long as the fleet's median node would need
MARGIN: Final = 0.5  # seconds that we must be ahead, for sending both ways


def stragglers(nodes: Iterable[NodeInfo], mine: NodeInfo, seconds: float) -> list[str]:
    """The subjects of chunks worth redoing here, the latest first.

    A chunk is worth it if we could have pulled it, nobody else is redoing it yet, it has been in progress longer than
    LATE times what the fleet would need for `seconds` of media, and we would finish it before its node does.
    """
    fleet_ = [node for node in nodes if node.stage == "transcribe" and node.key != mine.key]
    if not mine.speed:
        return []
    patience = LATE * seconds / median(filter(None, (node.speed for node in (*fleet_, mine))))
    ours = seconds / mine.speed
    held = [subject for node in fleet_ for subject in node.working]
    allowed = _pulled(mine)
    late = []
    for node in fleet_:
        for subject, elapsed in node.working.items():
            remaining = _remaining(node, elapsed, seconds)
            is_late = elapsed > patience and remaining > ours + MARGIN
            if is_late and subject.startswith(allowed) and held.count(subject) == 1:
                late.append((remaining, subject))
    return [subject for _, subject in sorted(late, reverse=True)]


def _remaining(node: NodeInfo, elapsed: float, seconds: float) -> float:
    """Seconds until `node` finishes a chunk that it began `elapsed` seconds ago."""
    theirs = seconds / node.speed - elapsed if node.speed else 0.0
    # A node that should be done by now, at its own speed, is stuck; nobody knows for how long.
    return theirs if theirs > 0 else elapsed


def _pulled(mine: NodeInfo) -> tuple[str, ...]:
    """The prefixes of the subjects that we pull, which leaves out jobs pinned to another accelerator."""
    ours = [consumer for consumer in stage_row("transcribe").consumers if consumer.durable in mine.queues]
    return tuple(pattern.removesuffix(">") for consumer in ours for pattern in consumer.filters)


async def help_out(connection: Connection, worker: Worker, presence: Presence, seconds: float) -> None:
    """While this worker is idle, look for stragglers, until cancelled. `seconds`: a chunk's usual length."""
    while True:
        # Idle nodes must not all see the same straggler at the same moment.
        await asyncio.sleep(ANNOUNCE_EVERY * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
        if presence.since or not presence.speed:
            continue
        try:
            if not await connection.messages(CHUNKS):
                continue  # no chunk is in progress; one small answer says so for any number of nodes
            for subject in stragglers(await fleet(connection), presence.info(), seconds):
                task = await connection.last(CHUNKS, subject)
                if task and await worker.do_again(subject, decode_as(ChunkTask, task.data)):
                    break
        except (BrokerError, msgspec.DecodeError):
            continue  # the broker is away, or from a newer release; look again later
