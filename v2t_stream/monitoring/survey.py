"""The fleet in numbers, at one moment: queues, jobs by state, nodes, dead letters, storage."""

import contextlib
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import Final, NamedTuple, get_args

import msgspec

from schemas.events import ChunkDone, Rerun
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.census import fact_names, latest_runs
from v2t_stream.jobs.state import State, state_of, state_of_list
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.queues import Queue, queues
from v2t_stream.topology.streams import DEAD, JOBS

_SHARE: Final = 0.01  # share of the time for counting jobs, which grows with their number
_OLDEST: Final = 60.0  # maximum age of a count in seconds, however long it took: a broker may be slow just once


class Survey(NamedTuple):
    at: float  # Unix seconds by the server's clock
    queues: list[Queue]
    nodes: dict[tuple[str, str], list[NodeInfo]]  # by node and stage
    workers: Counter[str]  # live processes by the queue they take from
    jobs: dict[str, int]  # by state
    dead: int  # letters now
    dead_ever: int  # letters ever written
    storage: int  # bytes
    storage_limit: int  # bytes; 0 if this user has no limit of its own


class Surveyor:
    """Makes Surveys on request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs: dict[str, int] = {}
        self._count_at = 0.0  # by the monotonic clock

    async def look(self) -> Survey:
        """Raises BrokerError."""
        dead = await self._connection.api(f"STREAM.INFO.{DEAD}")
        account = await self._connection.api("INFO")
        nodes: defaultdict[tuple[str, str], list[NodeInfo]] = defaultdict(list)
        workers: Counter[str] = Counter()
        for info in await fleet(self._connection):
            nodes[info.node, info.stage].append(info)
            workers.update(info.queues)
        begun = time.monotonic()
        if begun >= self._count_at:
            self._jobs = await jobs_by_state(self._connection)
            counted = time.monotonic()
            self._count_at = counted + min((counted - begun) / _SHARE, _OLDEST)
        return Survey(
            at=datetime.fromisoformat(dead["ts"]).timestamp(),
            queues=await queues(self._connection),
            nodes=nodes,
            workers=workers,
            jobs=self._jobs,
            dead=dead["state"]["messages"],
            dead_ever=dead["state"]["last_seq"],
            storage=account["storage"],
            storage_limit=max(0, account["limits"]["max_storage"]),
        )


async def jobs_by_state(connection: Connection) -> dict[str, int]:
    """The number of jobs in each state, from the names of their facts alone: few requests for ten thousand jobs."""
    runs = await latest_runs(connection)
    facts = await fact_names(connection, runs)
    for job, known in facts.items():
        # It matters only for these, and there are no more of them than nodes convert at once.
        if state_of(known.__contains__) == "converting" and await _has_chunk(connection, job, runs.get(job, 0), known):
            known.add("chunk")
    states = {job: state_of(known.__contains__) for job, known in facts.items()}
    entries: defaultdict[str, list[State]] = defaultdict(list)
    for job, state in states.items():
        parent, place = place_of(job)
        if place:
            entries[parent].append(state)
    counts: Counter[str] = Counter(dict.fromkeys(get_args(State), 0))
    counts.update(
        state_of_list(entries[job]) if state == "listed" and entries[job] else state for job, state in states.items()
    )
    return counts


async def _has_chunk(connection: Connection, job: str, run: int, known: set[str]) -> bool:
    """Whether a chunk has its result in this run, or keeps an earlier one."""
    if "progress.convert" in known and await connection.subjects(JOBS, ChunkDone.subject_of(job=job, run=run, n="*")):
        return True
    rerun = await connection.last(JOBS, Rerun.subject_of(job=job, run=run)) if run else None
    with contextlib.suppress(msgspec.DecodeError):
        return rerun is not None and bool(decode_as(Rerun, rerun.data).keeps)
    return False
