"""Dead letters: messages that were given up, with the reason."""

import logging
from typing import NamedTuple

import msgspec

from schemas.events import DeadLetter, Rerun
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.topology.streams import DEAD
from v2t_stream.topology.subjects import ALL_DEAD, chunk_of, run_of

log = logging.getLogger(__name__)


class Dead(NamedTuple):
    """One dead letter in the stream."""

    number: int  # its sequence; people use it to name the letter
    at: float  # Unix seconds when it was given up
    letter: DeadLetter

    @property
    def chunk(self) -> int | None:
        """The number of the chunk that was given up; None if it was not a chunk."""
        return chunk_of(self.letter.original_subject)


async def dead_letters(connection: Connection, subject: str = ALL_DEAD) -> list[Dead]:
    """All dead letters, or those on `subject`, the latest last. Raises BrokerError.

    Logs and leaves out those that it cannot read.
    """
    found = []
    async for stored in connection.watch(DEAD, subject, live=False):
        if stored:
            try:
                letter = decode_as(DeadLetter, stored.data)
            except msgspec.DecodeError as error:
                log.warning("dead letter %d cannot be read: %s", stored.sequence, error)
                continue
            found.append(Dead(stored.sequence, stored.at, letter))
    return found


async def discard_answered(connection: Connection, rerun: Rerun) -> None:
    """Remove the letters whose work `rerun` does again. Raises BrokerError.

    Letters about chunks that it keeps stay, and so do its own, which may come at any moment.
    """
    for dead in await dead_letters(connection, DeadLetter.subject_of(stage="*", job=rerun.job)):
        if run_of(dead.letter.original_subject) < rerun.run and dead.chunk not in rerun.keeps:
            await remove(connection, dead.number)


async def remove(connection: Connection, number: int) -> None:
    """Discard a letter. Raises BrokerError."""
    await connection.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": number, "no_erase": True})
