"""Why a job does not go on at present."""

from collections.abc import Sequence
from typing import NamedTuple

from tui.feed import Around
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import wait_of
from v2t_stream.topology.subjects import job_of
from v2t_stream.units import counted


class Hold(NamedTuple):
    word: str  # for the table: at most 13 characters
    sentence: str  # for the job's own screen
    passes: bool  # it goes on by itself


def hold(job: Job, around: Around, ahead: int) -> Hold | None:
    """What holds up a job that is not a list; None if nothing does. `ahead`: the jobs before it in its queue."""
    paused = {queue.name for queue in around.queues if queue.paused}
    if wait := wait_of(job, around.nodes, paused):
        return Hold("paused" if wait.queue else "waiting!", wait.reason, passes=False)
    if ahead:
        jobs = counted(ahead, "job")
        return Hold(f"{jobs} ahead" if ahead < 100 else "99+ ahead", f"in the queue ({jobs} ahead)", passes=True)
    if others := _before(job, around.nodes):
        taken = counted(others, "other job")
        return Hold("takes turns", f"it takes turns with {taken}, whose chunks are in progress now", passes=True)
    return None


def _before(job: Job, nodes: Sequence[NodeInfo]) -> int:
    """How many other jobs have chunks in progress while this one, which has chunks too, has none."""
    if job.chunks_cut <= len(job.chunks):
        return 0
    at_work = {job_of(subject) for info in nodes if info.stage == "transcribe" for subject in info.working}
    return 0 if job.id in at_work else len(at_work)
