"""How many times a message failed and how many times its workers died with it: counted apart, where all nodes see it.

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

DEATHS: Final = 3  # of workers with a message in work, after which it is given up as what kills them


class Ledger:
    """The tries of the messages of one stage."""

    def __init__(self, connection: Connection, stage: str, node: str) -> None:
        """`stage`, `node`: of this process."""
        self._connection = connection
        self._stage = stage
        self._mine = key(node, stage, os.getpid())
        self._alone = asyncio.Lock()

    async def of(self, message: Msg, job: str, *, is_here: bool) -> Tries:
        """What became of the deliveries before this one. Raises BrokerError.

        One that began and did not end was a death, unless its worker is still seen with it: then only its signs of
        life were lost, as when the broker was away. A first delivery leaves no trace, so without any it is the one that
        did not end. `is_here`: this process itself has it in work from an earlier delivery.
        """
        tries = Tries(job=job, stage=self._stage, message=message.metadata.sequence.stream)
        if message.metadata.num_delivered == 1:
            return tries
        told = replace(tries, begun=True)
        if noted := await self._connection.last(JOBS, tries.subject):
            with contextlib.suppress(msgspec.DecodeError):  # a stranger's
                told = decode_as(Tries, noted.data)
        has_died = told.begun and not is_here and not await self._is_elsewhere(message.subject)
        return replace(told, deaths=told.deaths + has_died, begun=False)

    async def _is_elsewhere(self, subject: str) -> bool:
        """Whether another process that is alive has it in work."""
        nodes = await fleet(self._connection, self._stage)
        return any(info.key != self._mine and info.holds(subject) for info in nodes)

    async def note(self, tries: Tries, pause: float = 0.0) -> None:
        """Let the next worker know how this delivery ended, and all that it comes after `pause` seconds.

        Raises BrokerError.
        """
        await self._connection.publish(replace(tries, pause=pause))

    async def leave(self, tries: Tries) -> None:
        """The same for a worker that has no time to wait: the message is given back, which is no try and no death."""
        await self._connection.tell(replace(tries, pause=0.0))

    @contextlib.asynccontextmanager
    async def begun(self, message: Msg, tries: Tries) -> AsyncGenerator[None]:
        """While the block runs, a death of this process is one with this message in work. Raises BrokerError.

        Before the death that would be one too many it is done apart from others of that kind, so that those that were
        only beside it when their worker died are not blamed for it again.
        """
        if message.metadata.num_delivered == 1:
            yield
            return
        async with self._alone if tries.deaths == DEATHS - 1 else contextlib.nullcontext():
            await self._connection.publish(replace(tries, begun=True))
            yield


class Noted(NamedTuple):
    """What was noted of the messages of a job that a stage may be given once more."""

    pause: float = 0.0  # seconds until the last of them is
    latest: int = 0  # the sequence of the latest note


async def noted(connection: Connection, job: str, stage: str, after: int) -> Noted:
    """The same from the broker. `after`: the sequence up to which all messages are done. Raises BrokerError."""
    found = Noted()
    async for stored in connection.watch(JOBS, Tries.subject_of(job=job, stage=stage, message="*"), live=False):
        with contextlib.suppress(msgspec.DecodeError):  # a stranger's
            if stored and (tries := decode_as(Tries, stored.data)).message > after:
                pause = 0.0 if tries.begun else tries.pause
                found = Noted(max(found.pause, pause), max(found.latest, stored.sequence))
    return found
