"""The page: files of this package, under a policy that lets the browser ask nobody else."""

import hashlib
import mimetypes
from pathlib import Path
from typing import Final

from aiohttp import web

from v2t_stream.serve.problems import Problem

routes = web.RouteTableDef()

_FOLDER: Final = Path(__file__).parent / "page"
_FILES: Final = frozenset(path.name for path in _FOLDER.iterdir() if path.is_file())

# Scripts and styles come from here and nowhere else, and none of them from within a page.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # so that an update shows at once; the tag saves the bytes
}


@routes.get("/")
async def index(request: web.Request) -> web.Response:
    """Show the page."""
    return _file(request, "index.html")


@routes.get("/page/{name}")
async def file(request: web.Request) -> web.Response:
    """Give a script, a style or a picture of the page."""
    return _file(request, request.match_info["name"])


def _file(request: web.Request, name: str) -> web.Response:
    if name not in _FILES:
        raise Problem(404, f"the page has no file {name!r}")
    data = (_FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return web.Response(body=data, content_type=kind, charset="utf-8", headers=headers)
