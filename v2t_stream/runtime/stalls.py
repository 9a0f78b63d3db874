"""Finds jobs that cannot end by themselves: their next step is neither done, nor waiting, nor in progress.

That happens when messages are lost, because a stream was purged or damaged.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal, NamedTuple

from schemas.events import ChunkDone, Converted, Downloaded, Rerun, Retried, Submitted
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import fleet, version
from v2t_stream.jobs.census import fact_names, latest_runs
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import ENDED, Job, fold_all, state_of
from v2t_stream.runtime.tries import Noted, noted
from v2t_stream.topology.stages import STAGES, Consumer
from v2t_stream.topology.streams import CHUNKS, JOBS
from v2t_stream.topology.subjects import ALL_TASKS, but_chunks, chunk_of, first_run_of, job_of, message_type, run_of

Lack = Literal["beginning", "download", "convert", "chunks", "aggregate"]

_ENDED: Final = (*ENDED, "listed")  # a list's entries are looked at instead
_AT_ONCE: Final = 16  # requests
_MOMENT: Final = 1.0  # seconds for a message to get from one stage to the next
_SHOWN: Final = 3  # of a list

ADVICE: Final = "an aggregate stage repairs this within a minute, or fails the job: make sure that one runs"


class Queued(NamedTuple):
    """How far a durable consumer is, in sequences of its stream."""

    done: int  # everything up to here is acked
    delivered: int  # nothing after this was ever delivered
    is_idle: bool = False  # a worker waits for a message, and would get a due one at once
    ack_wait: float = 0.0  # seconds until a message is due again after its worker died


class Results(NamedTuple):
    """The finished chunks of a job, for callers that read only its other facts."""

    chunks: Collection[int] = ()  # their numbers
    last: int = 0  # the sequence of the latest


class Around(NamedTuple):
    """What waits and what is in progress, read just before the facts that it is compared with."""

    tasks: Mapping[tuple[str, int], Collection[int]]  # chunks waiting or in progress, by job and run
    queues: Mapping[str, Queued]  # of the stages that work on facts, by stage name
    held: Collection[str]  # subjects that nodes report as in progress
    has_others: bool = False  # there are nodes of another release, which may read what we cannot


class Doubt(NamedTuple):
    """Why a delivered message that nobody holds may come again, and how to find out that it will not.

    A due message comes before anything new. So it is lost if, after that time, others were served and it was not.
    """

    queue: Queued  # its current state
    noted: Noted = Noted()

    @property
    def within(self) -> float:
        """Seconds until it is due."""
        return self.queue.ack_wait + self.noted.pause


class Stall(NamedTuple):
    """What a job lacks to be able to end."""

    lack: Lack
    at: int = 0  # the sequence of the fact that it is about; another sequence means another stall
    chunks: frozenset[int] = frozenset()
    doubt: Doubt | None = None  # its message may still be redelivered

    def is_as(self, other: "Stall") -> bool:
        """Whether nothing was done or tried about it since."""
        tried = self.doubt and other.doubt and self.doubt.noted.latest != other.doubt.noted.latest
        return (self.lack, self.at) == (other.lack, other.at) and not tried

    @property
    def reason(self) -> str:
        """A sentence to follow the job's name."""
        match self.lack:
            case "beginning":
                return "the facts about its start are lost"
            case "chunks":
                shown = ", ".join(map(str, sorted(self.chunks)[:_SHOWN]))
                return f"{len(self.chunks)} of its chunks are neither done nor waiting ({shown}{self._more})"
            case "aggregate":
                return "all its chunks are done, and nothing assembles them"
        return f"it waits for the stage {self.lack}, whose queue has no message for it"

    @property
    def _more(self) -> str:
        return " …" if len(self.chunks) > _SHOWN else ""


def stall_of(job: Job, results: Results, around: Around) -> Stall | None:
    """What `job` lacks right now, if anything; it may just be on its way from one stage to the next."""
    if job.state in _ENDED or (job.unread and around.has_others):
        return None
    trigger = trigger_of(job)
    if trigger is None:
        return Stall("beginning", _latest(job))
    if job.downloaded and job.converted:
        return _unheard(job, trigger.subject, job.converted, results, around)
    return _unqueued(job, "convert" if job.downloaded else "download", trigger.subject, around)


def _latest(job: Job) -> int:
    """The sequence of its latest fact, except reports of progress."""
    return max((at for subject, at in job.sequences.items() if ".progress." not in subject), default=0)


def trigger_of(job: Job) -> Submitted | Downloaded | Rerun | None:
    """The fact that gives convert its media or, without media, the one that gives download its task."""
    run = job.runs[job.run]
    return run.downloaded or run.rerun or job.submitted


def _unheard(job: Job, trigger: str, converted: Converted, results: Results, around: Around) -> Stall | None:
    """A stall because a chunk has neither a result nor a task, or nothing notices that all have results."""
    missing = frozenset(range(converted.chunks)) - frozenset(results.chunks)
    begun, ended = job.sequences[trigger], job.sequences[converted.subject]
    if not missing:
        last, queue = max(ended, results.last), around.queues["aggregate"]
        if last > queue.delivered or any(job_of(subject) == job.id for subject in around.held):
            return None
        return Stall("aggregate", last, doubt=_doubt(last, queue))
    lost = missing - frozenset(around.tasks.get((job.id, job.run), ()))
    if not lost:
        return None
    if begun < ended:
        return Stall("chunks", begun, lost)
    cutting = _unqueued(job, "convert", trigger, around)  # convert will cut and send them again
    return cutting and Stall("chunks", begun, lost, cutting.doubt)


def _unqueued(job: Job, stage: Literal["download", "convert"], trigger: str, around: Around) -> Stall | None:
    """A stall because the fact on `trigger`, which `stage` must work on, is not in its queue."""
    sequence, queue = job.sequences[trigger], around.queues[stage]
    if trigger in around.held or sequence > queue.delivered:
        return None
    return Stall(stage, sequence, doubt=_doubt(sequence, queue))


def _doubt(sequence: int, queue: Queued) -> Doubt | None:
    """Whether the delivered message of this sequence may come again: an acked one does not."""
    return Doubt(queue) if sequence > queue.done else None


async def unfinished(connection: Connection) -> list[str]:
    """The jobs that have not ended, or may not have, in the order of their ids. Raises BrokerError.

    Uses only the names of their facts. Includes jobs that have only chunks left, and those that release 0.1 retried,
    whose end may be void.
    """
    names = {job_of(subject): set[str]() for subject in await connection.subjects(CHUNKS, ALL_TASKS)}
    names.update(await fact_names(connection, await latest_runs(connection)))
    retried = {job_of(subject) for subject in await connection.subjects(JOBS, Retried.subject_of(job="*", time="*"))}
    return sorted(job for job, known in names.items() if job in retried or state_of(known.__contains__) not in _ENDED)


async def resting(connection: Connection, jobs: Iterable[str]) -> list[str]:
    """Those of `jobs` that have no waiting message, in order: of many jobs, the few that may lack something.

    Raises BrokerError.
    """
    runs = await latest_runs(connection)
    waiting = {
        job_of(subject)
        for subject in await connection.subjects(CHUNKS, ALL_TASKS)
        if run_of(subject) == runs.get(job_of(subject), 0)
    }
    download, convert = [
        {
            stored.subject
            async for stored in connection.watch(JOBS, *consumer.filters, live=False, after=queue.delivered)
            if stored
        }
        for row, (consumer, queue) in (await _queues(connection)).items()
        if row in ("download", "convert")
    ]
    # A retry is for one of the two stages; the other refuses it only when it sees it.
    waiting |= {job_of(subject) for subject in download ^ convert if message_type(subject) is not Rerun}
    waiting |= {job_of(subject) for subject in download & convert}
    return [job for job in jobs if job not in waiting]


async def stalls(connection: Connection, jobs: Iterable[str]) -> dict[str, tuple[Job, Stall]]:
    """Those of `jobs` that lack something right now. Raises BrokerError."""
    wanted = set(jobs)
    if not wanted:
        return {}
    around = await _around(connection)  # before the facts, so that they include the results of acked messages
    runs = await latest_runs(connection)
    facts = await history(connection, [pattern for job in wanted for pattern in _patterns(job, runs.get(job, 0))])
    read = {part.id: part for job in fold_all(facts).values() for part in (job, *job.children.values())}
    found = [read.get(id_, Job(id_)) for id_ in wanted]
    limit = asyncio.Semaphore(_AT_ONCE)

    async def results(job: Job) -> Results:
        if not job.converted:
            return Results()
        rerun = job.runs[job.run].rerun
        pattern = ChunkDone.subject_of(job=job.id, run=job.run, n="*")
        async with limit:
            last = await connection.last(JOBS, pattern)
            subjects = await connection.subjects(JOBS, pattern)
        own = {int(n) for subject in subjects if (n := subject.split(".")[4]).isdecimal()}
        return Results(own.union(rerun.keeps if rerun else ()), last.sequence if last else 0)

    known = await asyncio.gather(*map(results, found))
    seen = ((job, stall_of(job, of_job, around)) for job, of_job in zip(found, known, strict=True))
    return {job.id: (job, await _paused(connection, job, stall)) for job, stall in seen if stall}


async def _paused(connection: Connection, job: Job, stall: Stall) -> Stall:
    """The same stall; if its message may come again, with what its stage noted about that."""
    if not stall.doubt:
        return stall
    queue = stall.doubt.queue
    stage = "convert" if stall.lack == "chunks" else stall.lack
    return stall._replace(doubt=Doubt(queue, await noted(connection, job.id, stage, queue.done)))


def _patterns(job: str, run: int) -> list[str]:
    """The subjects of the facts that show what a job lacks; few, because there may be many jobs."""
    return but_chunks(job) if run else [first_run_of(job), Retried.subject_of(job=job, time="*")]


async def confirmed(connection: Connection, jobs: Iterable[str]) -> dict[str, Stall]:
    """Those of `jobs` that lack something in two looks a moment apart, so none is merely on its way.

    Raises BrokerError.
    """
    before = await stalls(connection, jobs)
    if not before:
        return {}
    await asyncio.sleep(_MOMENT)
    after = await stalls(connection, before)
    return {id_: stall for id_, (_, stall) in after.items() if not stall.doubt and stall.is_as(before[id_][1])}


async def _around(connection: Connection) -> Around:
    tasks: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for subject in await connection.subjects(CHUNKS, ALL_TASKS):
        n = chunk_of(subject)
        if n is not None:
            tasks[job_of(subject), run_of(subject)].add(n)
    queues = {stage: queue for stage, (_, queue) in (await _queues(connection)).items()}
    nodes = await fleet(connection)
    held = {subject for info in nodes for subject in (*info.working, *info.sending)}
    return Around(tasks, queues, held, any(info.is_alive and info.version != version() for info in nodes))


async def _queues(connection: Connection) -> dict[str, tuple[Consumer, Queued]]:
    """The consumers of the stages that work on facts, by stage name."""
    found = {}
    for row in STAGES:
        if row.stream == JOBS:
            (consumer,) = row.consumers
            info = await connection.api(f"CONSUMER.INFO.{JOBS}.{consumer.durable}")
            queue = Queued(
                info["ack_floor"]["stream_seq"],
                info["delivered"]["stream_seq"],
                is_idle=info["num_waiting"] > 0 and not info.get("paused"),
                ack_wait=info["config"]["ack_wait"] / 1e9,
            )
            found[row.name] = consumer, queue
    return found
