"""Counts how often a message failed and how often its workers died with it, where all nodes can see it.

A first delivery reads and writes nothing here. Only a failure, a return and a redelivery do.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace
from nats.aio.msg import Msg

from schemas.events import Tries
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import fleet, key
from v2t_stream.topology.streams import JOBS

DEATHS: Final = 3  # deaths of workers with this message; then it is given up as the likely cause


class Ledger:
    """The tries of the messages of one stage."""

    def __init__(self, connection: Connection, stage: str, node: str) -> None:
        """`stage`, `node`: of this process."""
        self._connection = connection
        self._stage = stage
        self._mine = key(node, stage, os.getpid())
        self._alone = asyncio.Lock()

    async def of(self, message: Msg, job: str, *, is_here: bool) -> Tries:
        """How the earlier deliveries of this message ended. Raises BrokerError.

        A delivery that began and did not end was a death, unless its worker still reports the message: then only its
        signs of life were lost, for example while the broker was away. A first delivery leaves no trace, so if there is
        no note, that is the one that did not end. `is_here`: this process still works on an earlier delivery of it.
        """
        tries = Tries(job=job, stage=self._stage, message=message.metadata.sequence.stream)
        if message.metadata.num_delivered == 1:
            return tries
        earlier = replace(tries, begun=True)
        if noted := await self._connection.last(JOBS, tries.subject):
            with contextlib.suppress(msgspec.DecodeError):  # written by a stranger
                earlier = decode_as(Tries, noted.data)
        has_died = earlier.begun and not is_here and not await self._is_elsewhere(message.subject)
        return replace(earlier, deaths=earlier.deaths + has_died, begun=False)

    async def _is_elsewhere(self, subject: str) -> bool:
        """Whether another live process is working on it."""
        nodes = await fleet(self._connection, self._stage)
        return any(info.key != self._mine and info.holds(subject) for info in nodes)

    async def note(self, tries: Tries, pause: float = 0.0) -> None:
        """Note for the next worker how this delivery ended, and for all that it comes again in `pause` seconds.

        Raises BrokerError.
        """
        await self._connection.publish(replace(tries, pause=pause))

    async def leave(self, tries: Tries) -> None:
        """The same for a worker that cannot wait: giving the message back counts neither as a try nor as a death."""
        await self._connection.tell(replace(tries, pause=0.0))

    @contextlib.asynccontextmanager
    async def begun(self, message: Msg, tries: Tries) -> AsyncGenerator[None]:
        """While the block runs, a death of this process counts against this message. Raises BrokerError.

        On its last chance a message runs apart from others in the same state, so that messages that merely ran beside
        the culprit are not blamed again.
        """
        if message.metadata.num_delivered == 1:
            yield
            return
        async with self._alone if tries.deaths == DEATHS - 1 else contextlib.nullcontext():
            await self._connection.publish(replace(tries, begun=True))
            yield


class Noted(NamedTuple):
    """Notes on a job's messages that a stage may get again."""

    pause: float = 0.0  # seconds until the last of them comes
    latest: int = 0  # the sequence of the latest note


async def noted(connection: Connection, job: str, stage: str, after: int) -> Noted:
    """Read these from the broker. `after`: the sequence up to which all messages are done. Raises BrokerError."""
    found = Noted()
    async for stored in connection.watch(JOBS, Tries.subject_of(job=job, stage=stage, message="*"), live=False):
        with contextlib.suppress(msgspec.DecodeError):  # written by a stranger
            if stored and (tries := decode_as(Tries, stored.data)).message > after:
                pause = 0.0 if tries.begun else tries.pause
                found = Noted(max(found.pause, pause), max(found.latest, stored.sequence))
    return found
