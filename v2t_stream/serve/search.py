"""`GET /v1/search`: what was said in any transcript."""

import logging
import math
import sqlite3
from typing import Annotated, Any, Final

from aiohttp import web
from msgspec import Meta

from v2t_stream.host.threads import in_thread
from v2t_stream.jobs.state import Job
from v2t_stream.search.file import is_broken, remove
from v2t_stream.search.looking import Hit, look
from v2t_stream.serve.answers import answered
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import caller
from v2t_stream.serve.indexing import INDEX
from v2t_stream.serve.known import check_known
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, number
from v2t_stream.serve.types import Places

log = logging.getLogger(__name__)

routes = web.RouteTableDef()

_MOST: Final = 1000  # places in an answer
_USUALLY: Final = 50
_LONGEST: Final = 1000  # characters of a query


@routes.get("/v1/search")
@described(
    query={
        "q": Annotated[
            str, Meta(max_length=_LONGEST, description='words, "phrases" and beginnings*, all in one segment')
        ],
        "limit": Annotated[int, Meta(ge=1, le=_MOST, description=f"default: {_USUALLY}")],
        "job": Annotated[str, Meta(description="only in this job, or in the entries of this list")],
    },
    answer=Places,
)
async def search(request: web.Request) -> web.Response:
    """Find the segments in which words were said, the best first."""
    query = checked(request, "q", "limit", "job")
    words = query.get("q", "")
    if not words.strip():
        raise Problem(400, "q is missing: say which words to look for", param="q")
    if len(words) > _LONGEST:
        raise Problem(400, f"q has {len(words)} characters: at most {_LONGEST} are allowed", param="q")
    limit = math.floor(number(query, "limit", least=1, most=_MOST) or _USUALLY)
    board, who, path = request.app[BOARD], caller(request), request.app[INDEX]
    await board.ready()
    jobs = None
    if id_ := query.get("job"):
        jobs = [part.id for part in check_known(request, board.find(id_), id_).parts]
    try:
        found = await in_thread(lambda: look(path, words, limit=limit, jobs=jobs, owner=who.sees_only))
    except sqlite3.Error as error:
        if is_broken(error):
            log.warning("the search index %s is damaged (%s)", path, error)
            remove(path)  # whoever keeps it makes it anew
        raise Problem(
            503, "the search index cannot be read now: try again in a minute", **{"Retry-After": "30"}
        ) from error
    told = [
        _told(hit, job)
        for hit in found.hits
        if (job := board.find(hit.job)) and not job.removed and who.sees(job)  # the index may be a moment behind
    ]
    return answered({"data": told, "complete": found.complete})


def _told(hit: Hit, job: Job) -> dict[str, Any]:
    return {"job": hit.job, "title": job.title, **hit._asdict()}
