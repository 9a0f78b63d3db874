"""`GET /v1/jobs` and `GET /v1/jobs/ID`."""

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta

from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import short
from v2t_stream.jobs.wanted import STATES, Wanted, since_of
from v2t_stream.serve.answers import answered
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import job_on_board
from v2t_stream.serve.looks import LOOKS
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, number
from v2t_stream.serve.types import JobList, JobStatus

routes = web.RouteTableDef()

_MOST: Final = 1000  # jobs in an answer
_USUALLY: Final = 50
_AT_ONCE: Final = 500  # jobs looked at before others get a turn


@routes.get("/v1/jobs")
@described(
    query={
        "state": Annotated[str, Meta(description=f"one or several of {', '.join(STATES)}; may be repeated")],
        "since": Annotated[str, Meta(description="submitted since then: 2h, 3d, a date, or Unix seconds")],
        "title": Annotated[str, Meta(description="text in the title or the link")],
        "limit": Annotated[int, Meta(ge=1, le=_MOST, description=f"default: {_USUALLY}")],
        "after": Annotated[str, Meta(description="the last job of the page before")],
    },
    answer=JobList,
)
async def jobs(request: web.Request) -> web.Response:
    """List jobs, the newest first."""
    query = checked(request, "state", "since", "title", "limit", "after")
    limit = math.floor(number(query, "limit", least=1, most=_MOST) or _USUALLY)
    wanted, sees = _wanted(request, query), caller(request).sees
    board = request.app[BOARD]
    await board.ready()
    after = query.get("after", "")
    try:
        newest = board.newest_first(after)
    except KeyError:
        raise Problem(
            400, f"there is no job {after!r} to go on after: leave after out to begin with the newest", param="after"
        ) from None
    page = await _first(newest, limit + 1, lambda job: wanted.matches(job) and wanted.is_in_state(job) and sees(job))
    return answered({"data": [short(job) for job in page[:limit]], "has_more": len(page) > limit})


def _wanted(request: web.Request, query: dict[str, str]) -> Wanted:
    """What the parameters ask for; `state` may be repeated, or name several. Raises Problem."""
    states = [state for each in request.query.getall("state", []) for state in each.split(",") if state]
    if wrong := [state for state in states if state not in STATES]:
        raise Problem(400, f"unknown state {wrong[0]!r}: use {', '.join(STATES)}", param="state")
    return Wanted(states, _since(query.get("since", "")), query.get("title", "").casefold())


def _since(text: str) -> float | None:
    """`text`: Unix seconds, an age, or a date."""
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else since_of(text) if text else None
    except ValueError as error:
        raise Problem(400, f"since={error}, nor a time in Unix seconds", param="since") from None


async def _first(jobs: Iterator[Job], most: int, fits: Callable[[Job], bool]) -> list[Job]:
    """The first jobs that fit, of thousands that may not."""
    found = []
    for place, job in enumerate(jobs, 1):
        if fits(job):
            found.append(job)
            if len(found) == most:
                break
        if not place % _AT_ONCE:
            await asyncio.sleep(0)
    return found


@routes.get("/v1/jobs/{job}")
@described(answer=JobStatus)
async def job(request: web.Request) -> web.Response:
    """Say everything about one job."""
    checked(request)
    return answered(await request.app[LOOKS].at(await job_on_board(request)))
