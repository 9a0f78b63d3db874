"""`GET /v1/jobs` and `GET /v1/jobs/ID`."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args

from aiohttp import web

from v2t_stream.jobs.state import Job, State
from v2t_stream.jobs.summary import short
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import check_known, job_of
from v2t_stream.serve.looks import LOOKS
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, number

routes = web.RouteTableDef()

_MOST: Final = 1000  # jobs in an answer
_USUALLY: Final = 50
_STATES: Final = get_args(State)


@routes.get("/v1/jobs")
async def jobs(request: web.Request) -> web.Response:
    """List jobs, the newest first."""
    query = checked(request, "state", "since", "title", "limit", "after")
    limit = int(number(query, "limit", least=1, most=_MOST) or _USUALLY)
    states = [state for state in query.get("state", "").split(",") if state]
    if wrong := [state for state in states if state not in _STATES]:
        raise Problem(400, f"unknown state {wrong[0]!r}: use {', '.join(_STATES)}", param="state")
    board = request.app[BOARD]
    await board.ready()
    since, text = number(query, "since"), query.get("title", "").casefold()
    seen = (
        job
        for job in _newest_first(board.jobs.values())
        if not job.removed
        and caller(request).sees(job)
        and (not states or job.state in states)
        and (since is None or (job.started_at or 0.0) >= since)
        and text in f"{job.title}\n{job.source}".casefold()
    )
    page = list(_from(seen, query.get("after", ""), limit + 1))
    return web.json_response({"data": [short(job) for job in page[:limit]], "has_more": len(page) > limit})


def _newest_first(jobs: Iterable[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job.started_at or time.time(), job.id), reverse=True)


def _from(jobs: Iterable[Job], after: str, most: int) -> Iterator[Job]:
    """The jobs that come after the one called `after`; the first ones if that is empty."""
    is_due = not after
    for job in jobs:
        if is_due and most:
            most -= 1
            yield job
        is_due = is_due or job.id == after


@routes.get("/v1/jobs/{job}")
async def job(request: web.Request) -> web.Response:
    """Say everything about one job."""
    board = request.app[BOARD]
    found: Job | None = board.find(request.match_info["job"])
    # The board may be a moment behind what this client has just done.
    known = check_known(request, found, request.match_info["job"]) if found else await job_of(request)
    told: dict[str, Any] = await request.app[LOOKS].at(known)
    return web.json_response(told)
