"""`/v1/jobs/ID/speakers`: who speaks, and their names."""

from aiohttp import web

from v2t_stream.jobs import people
from v2t_stream.jobs.summary import spoke
from v2t_stream.serve.bodies import read_as
from v2t_stream.serve.conflicts import conflicts
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.corrections import store_correction
from v2t_stream.serve.described import described
from v2t_stream.serve.known import transcribed
from v2t_stream.serve.queries import checked
from v2t_stream.serve.types import Speakers

routes = web.RouteTableDef()


@routes.get("/v1/jobs/{job}/speakers")
@described(answer=Speakers)
async def speakers(request: web.Request) -> web.Response:
    """List who speaks in a job, and for how long."""
    checked(request)
    _, record = await transcribed(request)
    return web.json_response({"data": spoke(record)})


@routes.put("/v1/jobs/{job}/speakers")
@described(body=dict[str, str], answer=Speakers)
async def name(request: web.Request) -> web.Response:
    """Name speakers by their labels; an empty name takes one away."""
    checked(request)
    names = {label: people.person(name) for label, name in (await read_as(request, dict[str, str])).items()}
    job, record = await transcribed(request)
    with conflicts():
        people.check(job, record, names)
        record = await people.renamed(request.app[PIPELINE].connection, job, record, names)
    await store_correction(request, job, record)
    return web.json_response({"data": spoke(record)})
