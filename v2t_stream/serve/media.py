"""`GET /v1/jobs/ID/media`: the medium, from any place on, straight from the store."""

import hashlib
import json
import mimetypes
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from aiohttp import web

from schemas.objects import Version
from v2t_stream.errors import BrokerError, ObjectMissing, V2TError
from v2t_stream.jobs.media import located
from v2t_stream.jobs.state import Job
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.known import check_single, job_of
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.store.pieces import Pieces
from v2t_stream.store.protocol import BucketStore, ObjectStore

routes = web.RouteTableDef()

_BLOCK: Final = 512 << 10  # bytes read ahead of a client, however slow; the first of them should be there soon
# What Python does not know unless the system tells it, which the system of a container image does not.
_KINDS: Final = {
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".m4b": "audio/mp4",
    ".mka": "audio/x-matroska",
    ".caf": "audio/x-caf",
    ".amr": "audio/amr",
    ".wma": "audio/x-ms-wma",
    ".ac3": "audio/ac3",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".ogv": "video/ogg",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".3gp": "video/3gpp",
    ".ts": "video/mp2t",
    ".mts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".flv": "video/x-flv",
    ".wmv": "video/x-ms-wmv",
    ".weba": "audio/webm",
    ".vob": "video/mpeg",
    ".mxf": "video/mxf",
}
# Files of strangers must never run as pages of ours.
_HARMLESS: Final = {
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


class _Medium(NamedTuple):
    key: str
    version: Version | None
    size: int  # bytes

    @property
    def kind(self) -> str:
        known = _KINDS.get(PurePosixPath(self.key).suffix.lower())
        return known or mimetypes.guess_type(self.key)[0] or "application/octet-stream"

    @property
    def tag(self) -> str:
        """It changes with the bytes: a key is written once, and an object of somebody's bucket has a version."""
        named = json.dumps([self.key, self.size, str(self.version)])
        return f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"'


@routes.get("/v1/jobs/{job}/media")
async def media(request: web.Request) -> web.StreamResponse:
    """Give the medium, or the range of it that the client asks for (RFC 9110, section 14)."""
    checked(request)
    job = await job_of(request)
    check_single(job)
    medium = await _medium(request, job)
    begin, end = _range(request, medium)
    response = web.StreamResponse(
        headers={
            "Content-Type": medium.kind,
            "Content-Length": str(end - begin),
            "Content-Disposition": "inline" if medium.kind.startswith(("audio/", "video/")) else "attachment",
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, max-age=3600",
            "ETag": medium.tag,
            **_HARMLESS,
        },
    )
    if (begin, end) != (0, medium.size):
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{medium.size}"
    await response.prepare(request)
    while begin < end and request.method != "HEAD":
        # What is sent waits until the client has taken it, so a slow one costs no memory.
        block = await request.app[PIPELINE].store.read(
            medium.key, begin, min(_BLOCK, end - begin), version=medium.version
        )
        if not block:
            raise ConnectionResetError("the object has become shorter")
        await response.write(block)
        begin += len(block)
    return response


async def _medium(request: web.Request, job: Job) -> _Medium:
    """Raises Problem if there is none, or no longer."""
    pipeline = request.app[PIPELINE]
    try:
        key, version = await located(pipeline.connection, job)
    except BrokerError:
        raise
    except V2TError as error:
        raise Problem(404, str(error)) from error
    size = await _size(pipeline.store, key, version)
    if size is None:
        pieces = Pieces.of(pipeline.store, key)
        if pieces and await pieces.manifest():
            raise Problem(409, f"the media of job {job.id} is still being uploaded: ask again when all of it has come")
        raise Problem(410, f"the media of job {job.id} is no longer stored: play {job.source} instead")
    return _Medium(key, version, size)


async def _size(store: ObjectStore, key: str, version: Version | None) -> int | None:
    if not isinstance(store, BucketStore):
        return await store.size(key)
    try:
        found = await store.look(key, version)
    except ObjectMissing:  # it was replaced
        return None
    return found.size if found else None


def _range(request: web.Request, medium: _Medium) -> tuple[int, int]:
    """The first byte that the client asks for, and the one behind the last. Raises Problem."""
    if request.headers.get("If-Range", medium.tag) != medium.tag:
        return 0, medium.size
    try:
        wanted = request.http_range
    except ValueError:  # a form that we need not know, such as several ranges
        return 0, medium.size
    begin, end, _ = wanted.indices(medium.size)
    if "Range" in request.headers and begin >= end:
        raise Problem(
            416,
            f"the medium has {medium.size} bytes: ask for some of them",
            **{"Content-Range": f"bytes */{medium.size}"},
        )
    return begin, end
