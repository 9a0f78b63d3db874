"""Does again what a slower node has had in hand for too long, so that a job does not end on its slowest machine."""

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

LATE: Final = 2.0  # times what the fleet's median node would have needed
MARGIN: Final = 0.5  # seconds we must be ahead, for the way there and back


def stragglers(nodes: Iterable[NodeInfo], mine: NodeInfo, seconds: float) -> list[str]:
    """The subjects of chunks worth doing again here, the latest first.

    Worth it is one that we might have pulled ourselves, that nobody else does again yet, that has been in work longer
    than LATE times what the fleet would need for `seconds` of media, and that we would finish before its node does.
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
    """Seconds until `node` has done a chunk that it has had in work for `elapsed` seconds."""
    theirs = seconds / node.speed - elapsed if node.speed else 0.0
    # One that should be done by its own speed is stuck; who knows how long yet.
    return theirs if theirs > 0 else elapsed


def _pulled(mine: NodeInfo) -> tuple[str, ...]:
    """How the subjects begin that we pull: those of jobs that are pinned to another accelerator are not among them."""
    ours = [consumer for consumer in stage_row("transcribe").consumers if consumer.durable in mine.queues]
    return tuple(pattern.removesuffix(">") for consumer in ours for pattern in consumer.filters)


async def help_out(connection: Connection, worker: Worker, presence: Presence, seconds: float) -> None:
    """While this worker has nothing to do, look for stragglers; until cancelled. `seconds`: a chunk's usual length."""
    while True:
        # Idle nodes must not all see the same straggler in the same moment.
        await asyncio.sleep(ANNOUNCE_EVERY * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
        if presence.since or not presence.speed:
            continue
        try:
            if not await connection.messages(CHUNKS):
                continue  # nobody has anything in hand, and one small answer tells so, however many nodes there are
            for subject in stragglers(await fleet(connection), presence.info(), seconds):
                task = await connection.last(CHUNKS, subject)
                if task and await worker.do_again(subject, decode_as(ChunkTask, task.data)):
                    break
        except (BrokerError, msgspec.DecodeError):
            continue  # the broker is away, or it is of a newer release; there will be another look
