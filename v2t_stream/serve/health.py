"""Whether the server is up."""

from aiohttp import web

routes = web.RouteTableDef()


@routes.get("/health")
async def health(request: web.Request) -> web.Response:  # noqa: ARG001  # aiohttp's
    """Say that the server is up."""
    return web.json_response({"status": "ok"})
