"""`/v1/session`: the key of the page, in a cookie that no script can read."""

from typing import Final

import msgspec
from aiohttp import web

from v2t_stream.serve.bodies import read_as
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import COOKIE, GATE, caller
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.types import SessionOf

routes = web.RouteTableDef()

_LASTS: Final = 30 * 86_400  # seconds


class _Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str


@routes.get("/v1/session")
@described(answer=SessionOf)
async def session(request: web.Request) -> web.Response:
    """Say who the caller is, and whether keys are needed."""
    who, needed = caller(request), request.app[GATE].needs_keys
    if needed and not who.id:
        raise Problem(401, "a key is needed: POST it to /v1/session", code="invalid_api_key")
    return web.json_response({"needed": needed, "id": who.id, "name": who.name, "role": who.role})


@routes.post("/v1/session")
@described(body=_Begin, status=204)
async def begin(request: web.Request) -> web.Response:
    """Keep the key in a cookie."""
    text = (await read_as(request, _Begin)).key
    if not request.app[GATE].find(text):
        raise Problem(401, "this key is not valid: it was removed, or is not complete", code="invalid_api_key")
    response = web.Response(status=204)
    # Only the browser knows whether it came by https, because a proxy may stand before us.
    secure = request.secure or request.headers.get("Origin", "").startswith("https:")
    response.set_cookie(COOKIE, text, max_age=_LASTS, httponly=True, samesite="Strict", secure=secure)
    return response


@routes.delete("/v1/session")
@described(status=204)
async def end(request: web.Request) -> web.Response:  # noqa: ARG001  # aiohttp's
    """Forget the key."""
    response = web.Response(status=204)
    response.del_cookie(COOKIE, httponly=True, samesite="Strict")
    return response
