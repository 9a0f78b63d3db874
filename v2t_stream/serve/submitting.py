"""From a request to a job."""

from aiohttp import web

from schemas.requests import SubmitRequest
from v2t_stream.jobs.submission import check, check_fleet, submit
from v2t_stream.serve.context import PIPELINE


async def submitted(request: web.Request, wish: SubmitRequest, *, message_id: str = "") -> str:
    """Submit for the caller; returns the job's id. `message_id`: see jobs.submission.submit. Raises V2TError."""
    connection = request.app[PIPELINE].connection
    check(wish)
    await check_fleet(connection, wish)
    job, _ = await submit(connection, wish, message_id=message_id)
    return job
