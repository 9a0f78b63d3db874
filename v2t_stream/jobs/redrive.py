"""Retries the work of a dead letter."""

import contextlib
from pathlib import Path

from schemas.events import DeadLetter
from schemas.hooks import Notify
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import ObjectMissing, V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.dead_letters import Dead, remove
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.once import message_ids
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.stages import NOTIFY
from v2t_stream.topology.subjects import INBOX_SUBJECTS


async def redrive(connection: Connection, store: ObjectStore | None, dead: Dead, home: Path) -> str:
    """Retry its work, which removes the letter; the id of its job, empty if a submission makes a new job.

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
    if letter.stage == NOTIFY.name:
        await connection.publish(Notify(job=letter.job, fact=letter.original_subject))
        await remove(connection, dead.number)
        return letter.job
    chunk = dead.chunk
    if chunk is not None and chunk not in {gap.chunk for gap in job.gaps}:
        raise V2TError(f"chunk {chunk} of job {job.id} is no longer missing: there is nothing to retry")
    await operations.retry(connection, job, chunk=chunk)
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
