"""What a job or a queue waits for, and whether any node can do it."""

from collections.abc import Iterable

from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import Job
from v2t_stream.topology.queues import Queue


def awaited(job: Job) -> list[str]:
    """The stages with work left for the job, in order."""
    if job.ended or not job.submitted:
        return []
    if not job.downloaded:
        return ["download"]
    stages = [] if job.converted else ["convert"]
    if job.is_whole:
        return [*stages, "aggregate"]
    return [*stages, "transcribe"] if job.chunks_cut > len(job.chunks) else stages


def warning(job: Job, nodes: Iterable[NodeInfo]) -> str:
    """A sentence about what blocks an unfinished job, as far as the fleet shows; empty if nothing does."""
    told = list(nodes)
    if job.listed:
        return next(filter(None, (warning(entry, told) for entry in job.parts)), "")
    alive = [info for info in told if info.is_alive]
    for stage in awaited(job):
        if any(info.stage == stage for info in alive):
            continue
        for info in told:
            if info.stage == stage:
                return f"the stage {stage} is down on {info.node}, {info.state}: it {info.last_error}"
        return f"the stage {stage} runs nowhere: start v2t up here, or v2t node on a machine with the same NATS_URL"
    wanted = job.options.accelerator
    if job.ended or wanted == "any" or any(_serves(info, wanted) for info in alive):
        return ""
    return f"no node with {wanted} is alive: start one, or submit the job without --accelerator"


def unserved(queue: Queue, nodes: Iterable[NodeInfo]) -> str:
    """A sentence if a queue has work that no live node takes; otherwise empty."""
    if not (queue.waiting or queue.in_work) or queue.pulling:
        return ""
    alive = [info for info in nodes if info.is_alive and info.stage == queue.stage]
    if not alive:
        return f"no machine runs the stage {queue.stage}"
    if not queue.accelerator or any(_serves(info, queue.accelerator) for info in alive):
        return ""
    return f"no node with {queue.accelerator} is alive"


def _serves(info: NodeInfo, accelerator: str) -> bool:
    """Whether it transcribes chunks for this accelerator."""
    return info.stage == "transcribe" and (
        accelerator in ("any", info.accelerator) or f"transcribe-{accelerator}" in info.queues
    )
