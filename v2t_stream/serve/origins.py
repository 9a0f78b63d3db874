"""What browsers may do here on behalf of other sites' pages: nothing, except for origins that a setting names."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from v2t_stream.host.addresses import is_loopback
from v2t_stream.serve.problems import Problem

ORIGINS: Final = web.AppKey("origins", frozenset[str])

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
_DAY: Final = 86_400  # seconds

# What a page of another origin may send and read, if its origin is allowed at all.
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT: Final = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Range, Tus-Resumable, Upload-Length, "
    "Upload-Offset, Upload-Metadata, Upload-Defer-Length"
)
_READ: Final = (
    "Content-Range, Location, Retry-After, Tus-Resumable, Upload-Expires, Upload-Length, Upload-Offset, "
    "X-V2T-State, X-V2T-Transcript"
)


def check_local(request: web.Request) -> None:
    """For a server that needs no keys. Raises Problem unless this machine itself asks.

    Any site can give itself a name that leads to a loopback address, and its page would then count as ours. And a
    proxy on this machine lets everybody in who can reach it.
    """
    name = _name(request.host)
    if not is_loopback(name):
        raise Problem(
            403, f"this server has no keys and answers only to localhost, not to {name}: make one with v2t keys add"
        )
    if any(header in request.headers for header in _FORWARDED):
        raise Problem(
            403, "this server has no keys and answers only to this machine, not to proxies: make one with v2t keys add"
        )


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def check_origin(request: web.Request) -> None:
    """For a request that needs no secret of the page that sends it. Raises Problem if another site's page sends it."""
    origin = request.headers.get("Origin")
    if request.method in _SAFE or origin is None or is_allowed(request, origin):
        return
    if origin.partition("://")[2] != request.host:
        raise Problem(403, f"pages of {origin} may not change anything here: name it in V2T_SERVE_ORIGINS to allow it")


def is_allowed(request: web.Request, origin: str) -> bool:
    """Whether the settings allow this origin."""
    allowed = request.app[ORIGINS]
    return "*" in allowed or origin in allowed


def preflight(request: web.Request) -> web.Response | None:
    """The answer to a browser that asks first whether a page may; None for any other request."""
    is_asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not is_asked or not is_allowed(request, request.headers.get("Origin", "")):
        return None
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _SENT,
        "Access-Control-Max-Age": str(_DAY),
    }
    return web.Response(status=204, headers=headers)


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the browser whose pages may read the answer. Cookies of other origins stay out in any case."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if not request.app[ORIGINS]:
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin and is_allowed(request, origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _READ
