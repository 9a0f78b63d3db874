"""Dead letters: messages that were given up, with the reason, and how to retry them."""

import contextlib
import logging
from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas.events import DeadLetter
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import ObjectMissing, V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.once import message_ids
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.streams import DEAD
from v2t_stream.topology.subjects import ALL_DEAD, INBOX_SUBJECTS, chunk_of

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


async def dead_letters(connection: Connection) -> list[Dead]:
    """All dead letters, the latest last. Logs and leaves out those that it cannot read. Raises BrokerError."""
    found = []
    async for stored in connection.watch(DEAD, ALL_DEAD, live=False):
        if stored:
            try:
                letter = decode_as(DeadLetter, stored.data)
            except msgspec.DecodeError as error:
                log.warning("dead letter %d cannot be read: %s", stored.sequence, error)
                continue
            found.append(Dead(stored.sequence, stored.at, letter))
    return found


async def redrive(connection: Connection, store: ObjectStore | None, dead: Dead, home: Path) -> str:
    """Retry its work, then remove the letter; the id of its job, empty if a submission makes a new job.

    A chunk fills its gap, a job goes on where it failed, a submission is submitted again. `home`: the folder of this
    machine's data. `store`: None if we cannot use it from here. Raises V2TError if there is nothing left to do, because
    the job was cancelled or retried meanwhile: then `remove` the letter.
    """
    letter = dead.letter
    if letter.original_subject in INBOX_SUBJECTS:
        # If we die before the letter is removed, sending it again within two minutes still makes only one job.
        (message_id,) = message_ids(home, [dead])
        await connection.submit(letter.original_subject, await _sent(store, letter), message_id)
        await remove(connection, dead.number)
        return ""
    job = await read(connection, letter.job)
    if not job.sequences:
        raise V2TError(f"job {letter.job} of dead letter {dead.number} has been forgotten: submit it again")
    chunk = dead.chunk
    if chunk is not None and chunk not in {gap.chunk for gap in job.gaps}:
        raise V2TError(f"chunk {chunk} of job {job.id} is no longer missing: there is nothing to retry")
    await operations.retry(connection, job, chunk=chunk)
    await remove(connection, dead.number)
    return letter.job


async def _sent(store: ObjectStore | None, letter: DeadLetter) -> bytes:
    """The original submission."""
    if not letter.kept:
        return letter.data
    if store:
        with contextlib.suppress(ObjectMissing):
            return await store.get(letter.kept)
    raise V2TError(
        f"the submission of job {letter.job} had a link with a password or a key, which has expired or cannot be read "
        "from here: submit it again"
    )


async def remove(connection: Connection, number: int) -> None:
    """Discard a letter. Raises BrokerError."""
    await connection.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": number, "no_erase": True})
