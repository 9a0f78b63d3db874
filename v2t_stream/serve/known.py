"""The job that a request is about."""

from aiohttp import web

from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.gate import caller
from v2t_stream.serve.problems import Problem


async def job_of(request: web.Request) -> Job:
    """The job that the path names. Raises Problem if there is none that the caller may know of, and BrokerError."""
    job = await read(request.app[PIPELINE].connection, request.match_info["job"])
    if not job.sequences or job.removed or not caller(request).sees(job):
        raise Problem(404, f"there is no job {job.id!r}: GET /v1/jobs lists all jobs", code="not_found")
    return job
