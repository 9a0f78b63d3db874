"""The fleet in numbers, as the broker knows it at a moment: queues, jobs by state, nodes, dead letters, storage."""

import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import Final, NamedTuple

from schemas.events import Rerun
from v2t_stream.fleet import NodeInfo, fleet
from v2t_stream.jetstream import Connection
from v2t_stream.jobs import State
from v2t_stream.queues import Queue, queues
from v2t_stream.topology import DEAD, JOBS, job_of, run_of

_SHARE: Final = 0.01  # of the time that counting jobs may take; it grows with the jobs that are remembered
_OLDEST: Final = 60.0  # seconds that a count is used at most, however long it took: a broker may be slow just once

# What a job is when it has such a fact, the strongest first, as in v2t_stream.jobs.
_STATES: Final[dict[str, State]] = {
    "cancelled": "cancelled",
    "completed": "completed",
    "failed": "failed",
    "listed": "listed",
    "converted": "transcribing",
    "downloaded": "converting",
    "submitted": "queued",
}
_OF_ALL_RUNS: Final = {"cancelled", "downloaded", "submitted"}  # media that is there is not downloaded again


class Survey(NamedTuple):
    at: float  # Unix seconds by the server's clock
    queues: list[Queue]
    nodes: dict[tuple[str, str], list[NodeInfo]]  # by node and stage
    workers: Counter[str]  # live processes by the queue they take from
    jobs: dict[str, int]  # by state
    dead: int  # letters there are
    dead_ever: int  # letters there were
    storage: int  # bytes
    storage_limit: int  # bytes; 0 where this user has none of its own


class Surveyor:
    """Looks up what a Survey holds, whenever it is asked."""

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
    """How many jobs there are in each state, by the names of their facts alone: few requests for some ten thousand."""
    subjects = await connection.subjects(JOBS, "v2t.job.*.*")
    runs: defaultdict[str, int] = defaultdict(int)
    for subject in await connection.subjects(JOBS, Rerun.subject_of(job="*", run="*")):
        runs[job_of(subject)] = max(runs[job_of(subject)], run_of(subject))
    if runs:
        for fact in _STATES:
            subjects += await connection.subjects(JOBS, f"v2t.job.*.{fact}.*")
    facts: defaultdict[str, set[str]] = defaultdict(set)
    for subject in subjects:
        job, fact = subject.split(".")[2:4]
        if fact in _OF_ALL_RUNS or run_of(subject) == runs[job]:
            facts[job].add(fact)
    counts: dict[str, int] = dict.fromkeys(_STATES.values(), 0)
    for known in facts.values():
        if state := next((state for fact, state in _STATES.items() if fact in known), None):
            counts[state] += 1
    return counts
