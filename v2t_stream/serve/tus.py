"""`/v1/uploads`: uploads that resume, by the protocol tus 1.0.0 (tus.io/protocols/resumable-upload)."""

import base64
import functools
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final

from aiohttp import hdrs, web

from v2t_stream.serve import uploads
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import most_bytes
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.units import size

routes = web.RouteTableDef()

_VERSION: Final = "1.0.0"
_SPOKEN: Final = {"Tus-Resumable": _VERSION}
_BYTES: Final = "application/offset+octet-stream"
_LONGEST: Final = 4096  # characters of the metadata
_LARGEST: Final = 15  # digits of a number of bytes
_INSTEAD: Final = "X-HTTP-Method-Override"

Handler = Callable[[web.Request], Awaitable[web.Response]]


def _speaks(handler: Handler) -> Handler:
    """Answer only clients that speak this version of the protocol, and tell them so."""

    @functools.wraps(handler)
    async def spoken(request: web.Request) -> web.Response:
        try:
            checked(request)
            if request.headers.get("Tus-Resumable") != _VERSION:
                sent = request.headers.get("Tus-Resumable", "none")
                raise Problem(412, f"Tus-Resumable is {sent}: send {_VERSION}", **{"Tus-Version": _VERSION})  # noqa: TRY301  # told below
            response = await handler(request)
        except Problem as problem:
            problem.headers.update(_SPOKEN)
            raise
        response.headers.update(_SPOKEN)
        return response

    return spoken


@routes.options("/v1/uploads")
@routes.options("/v1/uploads/{upload}")
@described(status=204)
async def options(request: web.Request) -> web.Response:
    """Say what this server has of the protocol tus."""
    told = {
        "Tus-Version": _VERSION,
        "Tus-Max-Size": str(int(most_bytes(request))),
        "Tus-Extension": "creation,creation-with-upload,expiration,termination",
    }
    return web.Response(status=204, headers=_SPOKEN | told)


@routes.post("/v1/uploads")
@described(status=201, headers={"Upload-Length": int, "Upload-Metadata": str})
@_speaks
async def create(request: web.Request) -> web.Response:
    """Begin an upload, perhaps with its first bytes."""
    if "Upload-Length" not in request.headers:
        raise Problem(400, "Upload-Length is missing: say how many bytes the file has")
    length, most = _number(request, "Upload-Length"), most_bytes(request)
    if not length:
        raise Problem(400, "the file is empty (0 bytes): send a recording")
    if length > most:
        raise Problem(413, f"{size(length)} are more than the allowed {size(most)}: send a smaller file")
    metadata = request.headers.get("Upload-Metadata", "")
    begun = await uploads.create(request, name=_file_name(metadata), length=length, metadata=metadata)
    offset = 0
    if request.content_type == _BYTES and request.can_read_body:
        _check_fits(request, 0, length)
        offset = await uploads.append(request, begun, request.content.readany)
    answer = _answer(begun, offset, 201)
    answer.headers[hdrs.LOCATION] = f"/v1/uploads/{begun.id}"
    return answer


@routes.head("/v1/uploads/{upload}")
@_speaks
async def look(request: web.Request) -> web.Response:
    """Say how far an upload has come."""
    found = await uploads.find(request, request.match_info["upload"])
    answer = _answer(found, found.offset, 200)
    answer.headers.update({"Upload-Length": str(found.length), hdrs.CACHE_CONTROL: "no-store"})
    if found.manifest.metadata:
        answer.headers["Upload-Metadata"] = found.manifest.metadata
    return answer


@routes.patch("/v1/uploads/{upload}")
@described(status=204, headers={"Upload-Offset": int})
@_speaks
async def send(request: web.Request) -> web.Response:
    """Take the next bytes of an upload."""
    if request.content_type != _BYTES:
        raise Problem(415, f"the body is {request.content_type}: send {_BYTES}")
    found = await uploads.find(request, request.match_info["upload"])
    at = _number(request, "Upload-Offset")
    if at != found.offset:
        raise Problem(409, f"Upload-Offset is {at}, and {found.offset} bytes have come: go on from there")
    _check_fits(request, at, found.length)
    return _answer(found, await uploads.append(request, found, request.content.readany), 204)


@routes.delete("/v1/uploads/{upload}")
@described(status=204)
@_speaks
async def delete(request: web.Request) -> web.Response:
    """End an upload, and remove what has come of it."""
    await uploads.remove(request, await uploads.find(request, request.match_info["upload"]))
    return web.Response(status=204)


@routes.post("/v1/uploads/{upload}")
@described(status=204, headers={_INSTEAD: str})
async def instead(request: web.Request) -> web.StreamResponse:
    """Do what X-HTTP-Method-Override says, for clients that can only send GET and POST."""
    handlers = {"PATCH": send, "DELETE": delete, "HEAD": look}
    method = request.headers.get(_INSTEAD, "")
    if method not in handlers:
        raise Problem(405, f"POST needs {_INSTEAD} here: send {', '.join(handlers)}")
    return await handlers[method](request)


def _answer(found: uploads.Running, offset: int, status: int) -> web.Response:
    headers = {"Upload-Offset": str(offset)}
    if offset < found.length:
        headers["Upload-Expires"] = formatdate(found.expires, usegmt=True)
    return web.Response(status=status, headers=headers)


def _check_fits(request: web.Request, at: int, length: int) -> None:
    if at + (request.content_length or 0) > length:
        raise Problem(413, f"{at + (request.content_length or 0)} bytes are more than Upload-Length, {length}")


def _number(request: web.Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _LARGEST):
        raise Problem(400, f"{header} is {text[:40]!r}: send a number of bytes")
    return int(text)


def _file_name(metadata: str) -> str:
    """The name among `filename c3Blbi53YXY=,other …`. Raises Problem if it cannot be read."""
    if len(metadata) > _LONGEST:
        raise Problem(413, f"Upload-Metadata has {len(metadata)} characters: at most {_LONGEST} are allowed")
    values = dict(entry.strip().partition(" ")[::2] for entry in metadata.split(","))
    try:
        return base64.b64decode(values.get("filename") or values.get("name") or "", validate=True).decode()
    except ValueError:
        raise Problem(400, "the filename in Upload-Metadata is not base64 of UTF-8: encode it") from None
