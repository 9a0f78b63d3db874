"""Cancelling, removing and retrying jobs."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta

from v2t_stream.errors import V2TError
from v2t_stream.jobs import operations, removal
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import summary
from v2t_stream.models import problem
from v2t_stream.serve.answers import answered
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.bodies import read_as
from v2t_stream.serve.conflicts import conflicts
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.described import described
from v2t_stream.serve.known import job_of
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, flag
from v2t_stream.serve.types import JobSummary, Retry

routes = web.RouteTableDef()


@routes.delete("/v1/jobs/{job}")
@described(
    query={"remove": Annotated[bool, Meta(description="remove a job that has ended, for good; answers 204")]},
    answer=JobSummary,
)
async def delete(request: web.Request) -> web.Response:
    """Cancel a job; with `remove`, remove one that has ended, for good."""
    is_removed = flag(checked(request, "remove"), "remove")
    job, pipeline = await job_of(request), request.app[PIPELINE]
    if is_removed:
        with conflicts():
            await removal.remove(pipeline.connection, pipeline.store, request.app[SETTINGS], job)
        await request.app[BOARD].reach(await read(pipeline.connection, job.id))
        return web.Response(status=204)
    if not job.cancelled:  # asking twice does no harm
        with conflicts():
            await operations.cancel(pipeline.connection, pipeline.store, job)
    return await _changed(request, 200)


@routes.post("/v1/jobs/{job}/retry")
@described(body=Retry, status=202, answer=JobSummary)
async def retry(request: web.Request) -> web.Response:
    """Redo what failed, or a chunk, or everything with another model."""
    checked(request)
    wanted = await read_as(request, Retry) if request.can_read_body else Retry()
    if wanted.model and (reason := problem(wanted.model, None)):
        raise Problem(400, reason, param="model")
    job = await job_of(request)
    with conflicts():
        await _retried(request, job, wanted)
    return await _changed(request, 202)


async def _changed(request: web.Request, status: int) -> web.Response:
    """The job as it is now, for whoever asks next too."""
    job = await job_of(request)
    await request.app[BOARD].reach(job)
    return answered(summary(job), status)


async def _retried(request: web.Request, job: Job, wanted: Retry) -> None:
    connection = request.app[PIPELINE].connection
    if job.listed:
        if wanted.chunk is not None or wanted.keep_correction:
            raise V2TError(f"job {job.id} is a list: name the entry that has the chunk or the correction")
        await operations.retry_list(connection, job, model=wanted.model)
        return
    await operations.retry(
        connection, job, chunk=wanted.chunk, model=wanted.model, keep_correction=wanted.keep_correction
    )
