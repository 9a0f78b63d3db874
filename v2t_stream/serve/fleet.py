"""`GET /v1/fleet`: the machines at work."""

from aiohttp import web

from v2t_stream.serve.answers import answered
from v2t_stream.serve.described import described
from v2t_stream.serve.looks import LOOKS
from v2t_stream.serve.queries import checked
from v2t_stream.serve.types import Fleet

routes = web.RouteTableDef()


@routes.get("/v1/fleet")
@described(answer=Fleet)
async def fleet(request: web.Request) -> web.Response:
    """List the stages of every machine, as `v2t node list --json`."""
    checked(request)
    return answered({"data": await request.app[LOOKS].nodes()})
