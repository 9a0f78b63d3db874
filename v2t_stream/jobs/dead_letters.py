"""The dead letters: what could not be done, with the reason, and how it is tried again."""

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
    """One dead letter as the stream holds it."""

    number: int  # its sequence, by which people name it
    at: float  # Unix seconds when it was given up
    letter: DeadLetter

    @property
    def chunk(self) -> int | None:
        """The number of the chunk that was given up; None where it was no chunk."""
        return chunk_of(self.letter.original_subject)


async def dead_letters(connection: Connection) -> list[Dead]:
    """All there are, the latest last; one that cannot be read is left out, and logged. Raises BrokerError."""
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
    """Have it tried again, then remove the letter; the id of its job, empty where a submission makes a new one.

    A chunk fills its gap, a job goes on where it failed, a submission is submitted again. `home`: the folder of this
    machine's data; `store`: None where it cannot be used from here. Raises V2TError where there is nothing to do any
    more, as the job was cancelled or was retried meanwhile: `remove` the letter then.
    """
    letter = dead.letter
    if letter.original_subject in INBOX_SUBJECTS:
        # Twice within two minutes makes one job, should we die before the letter is removed.
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
    """The submission as it was sent."""
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
    """Throw a letter away. Raises BrokerError."""
    await connection.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": number, "no_erase": True})
