"""The jobs of a list's entries, from the stream."""

from schemas.events import Cancelled, Submitted
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import Job, fold
from v2t_stream.topology.ids import child_id, place_of
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import facts_of, job_of


async def children(connection: Connection, job: str) -> list[Job]:
    """The jobs of a list so far, in order. Raises BrokerError."""
    begun = await connection.subjects(JOBS, Submitted.subject_of(job="*"))
    begun += await connection.subjects(JOBS, Cancelled.subject_of(job="*"))  # an entry that was removed has only that
    places = sorted({n for parent, n in (place_of(job_of(subject)) for subject in begun) if n and parent == job})
    facts = await history(connection, [facts_of(child_id(job, n)) for n in places])
    return [child for _, child in sorted(fold(job, facts).children.items())]


async def read(connection: Connection, job: str) -> Job:
    """A job's current state, with its entries' jobs if it is a list. Raises BrokerError."""
    state = fold(job, await history(connection, [facts_of(job)]))
    if state.sequences and not state.downloaded:
        for child in await children(connection, job):
            _, place = place_of(child.id)
            state.children[place] = child
    return state


async def history(connection: Connection, patterns: list[str]) -> list[Stored]:
    """The current facts on `patterns`, of which there may be any number. Raises BrokerError."""
    return [stored async for stored in connection.watch(JOBS, *patterns, live=False) if stored]
