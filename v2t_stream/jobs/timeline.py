"""Where the time of a job went, from only its facts: what happened when, and on which nodes."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import msgspec

from schemas.events import ChunkDone, Completed
from v2t_stream.jobs.state import Job
from v2t_stream.topology.subjects import run_of

Step = Literal["waiting", "downloading", "decoding", "transcribing", "storing"]
Interval = tuple[float, float]


class Lane(msgspec.Struct, frozen=True):
    """When a step was running. Steps overlap: a file is transcribed while it is still being decoded."""

    step: Step
    intervals: tuple[Interval, ...]  # seconds from the start of the timeline, ascending, none touching another

    @property
    def seconds(self) -> float:
        return sum(end - begin for begin, end in self.intervals)


class Share(msgspec.Struct, frozen=True):
    """One node's share of a job."""

    node: str
    chunks: int
    audio: float  # seconds of the source that its chunks span
    seconds: float  # of engine time


class Timeline(msgspec.Struct, frozen=True):
    start: float  # Unix seconds: submitted, or retried
    seconds: float  # to the end, or to the latest fact if the job has not ended
    lanes: tuple[Lane, ...]  # waiting first: for a free machine, for the next try of a download, for a chunk
    shares: tuple[Share, ...]  # by node, the busiest first


def timeline(job: Job) -> Timeline | None:
    """None if the job's start is not known. After a retry it covers only what came after the latest one."""
    if job.started_at is None:
        return None
    start = job.rerun_at or job.started_at
    facts = [at for subject, at in job.times.items() if ".progress." not in subject and run_of(subject) == job.run]
    seconds = max(0.0, (job.ended_at or max(facts, default=start)) - start)
    done: dict[Step, list[Interval]] = {
        "downloading": _downloading(job),
        "decoding": _decoding(job),
        "transcribing": _of_engines(job),
        "storing": _storing(job),
    }
    lanes = [Lane(step, _united(intervals, start, seconds)) for step, intervals in done.items()]
    busy = _united([interval for lane in lanes for interval in lane.intervals], 0.0, seconds)
    return Timeline(start, seconds, (Lane("waiting", _between(busy, seconds)), *lanes), _shares(job))


def _downloading(job: Job) -> list[Interval]:
    fact = job.downloaded
    return [(at - fact.seconds, at)] if fact and (at := job.times.get(fact.subject)) else []


def _decoding(job: Job) -> list[Interval]:
    """Ends at the last progress report, because the fact comes later, when the last chunk had its turn."""
    fact = job.converted
    if fact is None or (at := job.times.get(fact.subject)) is None:
        return []
    progress = job.progress.get("convert")
    if progress and progress.done >= fact.duration:
        at = min(at, job.times[progress.subject])
    return [(at - fact.seconds, at)]


def _of_engines(job: Job) -> list[Interval]:
    """The chunks of one call end together, each with its share of the call's seconds: so put them one after another."""
    free: dict[str, float] = {}
    found = []
    for chunk in sorted(job.chunks.values(), key=lambda chunk: job.times[chunk.subject], reverse=True):
        end = min(job.times[chunk.subject], free.get(chunk.node, float("inf")))
        free[chunk.node] = end - chunk.seconds
        found.append((end - chunk.seconds, end))
    return found


def _storing(job: Job) -> list[Interval]:
    """From the moment when all results were there to the end."""
    end = job.times.get(Completed.subject_of(job=job.id, run=job.run))
    if end is None or not job.is_whole or not job.converted:
        return []
    there = [job.times[chunk.subject] for chunk in job.chunks.values()]
    return [(max([job.times[job.converted.subject], *there]), end)]


def _united(intervals: Iterable[Interval], start: float, seconds: float) -> tuple[Interval, ...]:
    """The same moments without overlaps, from `start` on, cut to 0 … `seconds`."""
    found: list[Interval] = []
    for begin, end in sorted((max(0.0, begin - start), min(seconds, end - start)) for begin, end in intervals):
        if begin >= end:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return tuple(found)


def _between(busy: tuple[Interval, ...], seconds: float) -> tuple[Interval, ...]:
    """The gaps in 0 … `seconds`."""
    ends = (0.0, *(end for _, end in busy))
    begins = (*(begin for begin, _ in busy), seconds)
    return tuple((end, begin) for end, begin in zip(ends, begins, strict=True) if begin > end)


def _shares(job: Job) -> tuple[Share, ...]:
    chunks: defaultdict[str, list[ChunkDone]] = defaultdict(list)
    for chunk in job.chunks.values():
        if chunk.node:  # a chunk that was given up has none
            chunks[chunk.node].append(chunk)
    shares = (
        Share(node, len(own), sum(c.end - c.start for c in own), sum(c.seconds for c in own))
        for node, own in chunks.items()
    )
    return tuple(sorted(shares, key=lambda share: (-share.chunks, share.node)))
