"""`POST /v1/jobs`."""

import contextlib
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta

from schemas.requests import SubmitRequest
from v2t_stream.errors import Denied, StoreError
from v2t_stream.host.tasks import to_its_end
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submitted as fact
from v2t_stream.jobs.summary import summary
from v2t_stream.serve.answers import answered
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.bodies import read_object
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.described import described
from v2t_stream.serve.forms import Form, receive
from v2t_stream.serve.gate import caller
from v2t_stream.serve.once import Repeatable
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.serve.spool import Upload
from v2t_stream.serve.submitting import last_of, prepared, sent, wish_of
from v2t_stream.serve.types import JobRequest, JobSummary
from v2t_stream.serve.uploads import named

routes = web.RouteTableDef()

_PATIENCE: Final = 30.0  # seconds that a submission which has begun gets after its client has gone


class _Asked(NamedTuple):
    """What a client asks for."""

    wish: SubmitRequest
    about: bytes  # the same if the same is asked for
    file: Upload | None = None


@routes.post("/v1/jobs")
@described(
    headers={"Idempotency-Key": Annotated[str, Meta(max_length=255, description="for a day it gives the same job")]},
    body=JobRequest,
    has_file=True,
    status=202,
    answer=JobSummary,
)
async def submit(request: web.Request) -> web.Response:
    """Make a job of a link, of a file, or of an object in the store; answers before any work is done."""
    checked(request)
    asked = await _asked(request)
    # Whoever has gone in the middle of it may come back with the same key.
    job, is_used = await to_its_end(_made(request, asked), _PATIENCE)
    if not is_used:
        await _discard(request, asked.file)
    known = request.app[BOARD].find(job) or Job(job, submitted=fact(job, asked.wish))
    return answered(summary(known), 202, Location=f"/v1/jobs/{job}")


async def _made(request: web.Request, asked: _Asked) -> tuple[str, bool]:
    """The job, and whether it is made of what came with this request. Raises Problem and V2TError."""
    key, connection = request.headers.get("Idempotency-Key", ""), request.app[PIPELINE].connection
    try:
        repeatable = Repeatable(connection, sender=caller(request).id, key=key, about=asked.about) if key else None
        if repeatable and (earlier := await repeatable.earlier()) and earlier.job:
            return earlier.job, False
        wish = await prepared(request, asked.wish)
        claim = await repeatable.claimed() if repeatable else None
    except BaseException:
        await _discard(request, asked.file)
        raise
    if claim and claim.job:
        return claim.job, False
    job, is_duplicate = await sent(request, wish, message_id=claim.once.message if claim else "")
    if claim:
        await claim.keep(connection, job)
    return job, not is_duplicate


async def _asked(request: web.Request) -> _Asked:
    """Raises Problem and V2TError."""
    if request.content_type != "multipart/form-data":
        wish = wish_of(await _with_upload(request, await read_object(request)))
        return _Asked(wish, msgspec.json.encode(wish))
    form = await receive(request)
    try:
        wish = wish_of(await _with_upload(request, _with_file(form)))
    except BaseException:
        await _discard(request, form.file)
        raise
    anew = msgspec.structs.replace(wish, media=form.file.sha256 if form.file else wish.media)
    return _Asked(wish, msgspec.json.encode(anew), form.file)


async def _with_upload(request: web.Request, fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields with the media of the upload that they name, if they do."""
    if "upload" not in fields:
        return fields
    if taken := {"url", "media"} & fields.keys():
        raise Problem(400, f"the body has an upload and a {taken.pop()}: send one of them", param="upload")
    file = await named(request, str(fields.pop("upload")))
    return {"title": file.name or None, **fields, "media": file.key}


def _with_file(form: Form) -> dict[str, Any]:
    fields: dict[str, Any] = dict(last_of(form.fields))
    if form.file:
        if taken := {"url", "media", "upload"} & fields.keys():
            raise Problem(400, f"the form has a file and a {taken.pop()}: send one of them", param="file")
        fields["media"] = form.file.key
        fields.setdefault("title", form.file.name)
    return fields


async def _discard(request: web.Request, file: Upload | None) -> None:
    """Remove a file that no job needs."""
    if file:
        with contextlib.suppress(StoreError, Denied):  # it expires
            await request.app[PIPELINE].store.delete(file.key)
