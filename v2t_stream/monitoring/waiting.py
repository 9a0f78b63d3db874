"""What a job or a queue waits for, and whether any node can do it."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from schemas.events import ChunkDone, Downloaded, Rerun, Submitted
from schemas.message import Message
from schemas.options import Options
from v2t_stream.engines.offer import obstacle
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import Job
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.queues import Queue
from v2t_stream.topology.stages import STAGES, StageRow
from v2t_stream.topology.streams import CHUNKS, INBOX
from v2t_stream.topology.subjects import job_of, message_type, tasks_of


class Wait(NamedTuple):
    """Why a job does not go on."""

    reason: str  # a sentence
    is_certain: bool  # otherwise what is missing may just be starting
    queue: str = ""  # the paused queue, if that is why


def awaited(job: Job, stages: Sequence[StageRow] = STAGES) -> list[str]:
    """Those of `stages` with work left for the job, in order."""
    return [row.name for row in _awaited(job, stages)]


def _awaited(job: Job, stages: Sequence[StageRow]) -> list[StageRow]:
    return [] if job.ended else [row for row in stages if _has_work(row, job)]


def _has_work(row: StageRow, job: Job) -> bool:
    """Whether the job has what the stage takes, and not yet what it makes."""
    if row.stream == INBOX:
        return not _has(job, Submitted)
    if row.stream == CHUNKS:
        return job.chunks_cut > len(job.chunks)
    takes = {message_type(subject) for consumer in row.consumers for subject in consumer.filters} - {Rerun, None}
    if ChunkDone in takes:  # it collects them
        return job.is_whole
    return any(_has(job, kind) for kind in takes if kind) and not any(_has(job, kind) for kind in row.results)


def _has(job: Job, kind: type[Message]) -> bool:
    if kind is Downloaded:  # a retry does not download the media again
        return job.downloaded is not None
    return kind.subject_of(job=job.id, run=job.run) in job.sequences


def warning(job: Job, nodes: Iterable[NodeInfo], paused: Collection[str] = ()) -> str:
    """The reason of `wait_of`; empty if there is none."""
    found = wait_of(job, nodes, paused)
    return found.reason if found else ""


def wait_of(
    job: Job, nodes: Iterable[NodeInfo], paused: Collection[str] = (), stages: Sequence[StageRow] = STAGES
) -> Wait | None:
    """What blocks an unfinished job, as far as the fleet shows. `paused`: the names of the paused queues."""
    told = list(nodes)
    if job.listed:
        return next(filter(None, (wait_of(entry, told, paused, stages) for entry in job.parts)), None)
    if job.ended:
        return None
    rows = _awaited(job, stages)
    found = (
        *(_pause(row, job, told, paused) for row in rows),
        *(_missing(row, told) for row in rows),
        _unserved_accelerator(job.options.accelerator, told),
        _missing_model(job.options, told),
    )
    return next(filter(None, found), None)


def _pause(row: StageRow, job: Job, nodes: Iterable[NodeInfo], paused: Collection[str]) -> Wait | None:
    """What was taken from a queue before it was paused goes on."""
    pinned = [each for each in row.consumers if tasks_of(job.options.accelerator) in each.filters]
    queue = next((each.durable for each in pinned or row.consumers if each.durable in paused), "")
    if not queue or any(_works_on(job, info) for info in nodes if info.stage == row.name):
        return None
    return Wait(f"the queue {queue} is paused: v2t queue resume {queue}", is_certain=True, queue=queue)


def _works_on(job: Job, info: NodeInfo) -> bool:
    return any(job_of(subject) == job.id for subject in (*info.working, *info.sending))


def _missing(row: StageRow, nodes: list[NodeInfo]) -> Wait | None:
    here = [info for info in nodes if info.stage == row.name]
    if any(info.is_alive for info in here):
        return None
    if here:
        down = here[0]
        reason = f"the stage {row.name} is down on {down.node}, {down.state}: it {down.last_error}"
        return Wait(reason, is_certain=False)
    what = f"the stage {row.name} runs nowhere" if nodes else "no node is up"
    return Wait(f"{what}: start v2t up here, or v2t node on a machine with the same NATS_URL", is_certain=False)


def _unserved_accelerator(wanted: str, nodes: Iterable[NodeInfo]) -> Wait | None:
    transcribing = [info for info in nodes if info.is_alive and info.stage == "transcribe"]
    if wanted == "any" or any(_serves(info, wanted) for info in transcribing):
        return None
    reason = f"no node with {wanted} is alive: start one, or submit the job without --accelerator"
    return Wait(reason, is_certain=bool(transcribing))


def _missing_model(options: Options, nodes: Iterable[NodeInfo]) -> Wait | None:
    """If no node that could do the job gets its model: what one of them says."""
    takers = [info for info in nodes if info.is_alive and _serves(info, options.accelerator)]
    said = {info.node: _lack(info, options) for info in takers}
    if not said or not all(said.values()):
        return None
    node, reason = next(iter(said.items()))
    return Wait(f"no node has the model; {node} says: {reason}", is_certain=True)


def _lack(info: NodeInfo, options: Options) -> str:
    """Why a node does not get the model for such a job; empty if it has one, or may."""
    fitting = [offer for offer in info.offers if obstacle(offer, options) is None]
    reasons = [info.lacking.get(f"{offer.engine}/{offer.model_for(options)}", "") for offer in fitting]
    return reasons[0] if all(reasons) and reasons else ""


def ahead(job: str, unfinished: Iterable[str]) -> int:
    """How many unfinished jobs were submitted before this one, as their ids tell; lists count as one job."""
    epoch, at = order(job)
    others = {order(place_of(other)[0]) for other in unfinished}
    return sum(1 for other_epoch, other_at in others if other_epoch == epoch and other_at < at)


def order(job: str) -> tuple[str, tuple[int, str]]:
    """A key by which jobs are in the order of their submission; it begins with the inbox that took them."""
    epoch, _, number = place_of(job)[0].partition("-")
    return epoch, (len(number), number)


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
