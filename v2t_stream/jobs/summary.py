"""A job as programs see it: `--json`, and the HTTP API."""

from typing import Any, Final

import msgspec

from schemas.transcript import Transcript
from v2t_stream.jobs.formats import names_of, spoken
from v2t_stream.jobs.state import Job

_OF_CHILDREN: Final = ("id", "state", "title", "reason")


def short(job: Job) -> dict[str, Any]:
    """What a list of jobs tells of each; times are in Unix seconds, durations in seconds."""
    return {
        "id": job.id,
        "state": job.state,
        "title": job.title,
        "source": job.source,
        "reason": job.reason,
        "done_before_as": job.completed.of if job.completed else "",
        "parent": job.submitted.parent if job.submitted else None,
        "entries": dict(job.counts) or None,
        "language": job.completed.language if job.completed else job.options.language,
        "duration": job.duration,
        "decoded": job.decoded,
        "chunks_cut": job.chunks_cut,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def brief(job: Job) -> dict[str, Any]:
    """A job for scripts; of one that has ended without what only the results of its chunks tell."""
    children = [{name: getattr(child, name) for name in _OF_CHILDREN} for child in job.parts if child is not job]
    return short(job) | {"children": children} | ({} if job.ended else _of_chunks(job))


def summary(job: Job) -> dict[str, Any]:
    """A job for scripts."""
    return brief(job) | _of_chunks(job)


def _of_chunks(job: Job) -> dict[str, Any]:
    gaps = [msgspec.to_builtins(gap) for gap in job.gaps]
    return {"chunks_done": len(job.chunks), "speed": job.speed, "eta": job.eta, "gaps": gaps}


def spoke(record: Transcript) -> list[dict[str, Any]]:
    """Who speaks and for how many seconds, for people and scripts."""
    names, seconds = names_of(record.speakers), spoken(record.segments, record.speakers)
    return [{"label": label, "name": name, "seconds": round(seconds[label], 3)} for label, name in names.items()]
