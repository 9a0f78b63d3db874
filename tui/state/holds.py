"""Why a job does not go on at present."""

from collections.abc import Sequence
from typing import NamedTuple

from tui.feed import Around
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import awaited, warning
from v2t_stream.topology.queues import Queue
from v2t_stream.topology.subjects import job_of
from v2t_stream.units import counted


class Hold(NamedTuple):
    word: str  # for the table: at most 13 characters
    sentence: str  # for the job's own screen
    passes: bool  # it goes on by itself


def hold(job: Job, around: Around, ahead: int) -> Hold | None:
    """What holds up a job that is not a list; None if nothing does. `ahead`: the jobs before it in its queue."""
    stages = awaited(job)
    if paused := next((queue for queue in around.queues if queue.paused and _feeds(queue, stages, job)), None):
        said = f"the queue {paused.name} is paused: resume it with p in the fleet, or v2t queue resume {paused.name}"
        return Hold("paused", said, passes=False)
    if hindrance := warning(job, around.nodes):
        return Hold("waiting!", hindrance, passes=False)
    if ahead:
        jobs = counted(ahead, "job")
        return Hold(f"{jobs} ahead" if ahead < 100 else "99+ ahead", f"in the queue ({jobs} ahead)", passes=True)
    if "transcribe" in stages and (others := _before(job, around.nodes)):
        taken = counted(others, "other job")
        return Hold("takes turns", f"it takes turns with {taken}, whose chunks are in progress now", passes=True)
    return None


def _feeds(queue: Queue, stages: Sequence[str], job: Job) -> bool:
    """Whether work of the job waits in this queue; a paused queue lets what is in progress go on."""
    waits = queue.stage in stages and queue.stage not in job.progress
    return waits and queue.accelerator in ("", job.options.accelerator)


def _before(job: Job, nodes: Sequence[NodeInfo]) -> int:
    """How many other jobs have chunks in progress while this one, which has chunks too, has none."""
    if job.chunks_cut <= len(job.chunks):
        return 0
    at_work = {job_of(subject) for info in nodes if info.stage == "transcribe" for subject in info.working}
    return 0 if job.id in at_work else len(at_work)
