"""`POST /v1/jobs`."""

from typing import Any

import msgspec
from aiohttp import web

from schemas.requests import SubmitRequest
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submitted as fact
from v2t_stream.jobs.summary import summary
from v2t_stream.serve import once
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.bodies import read_object
from v2t_stream.serve.forms import Form, receive
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.submitting import last_of, submitted, wish_of

routes = web.RouteTableDef()


@routes.post("/v1/jobs")
async def submit(request: web.Request) -> web.Response:
    """Make a job of a link, of a file, or of an object in the store; answers before any work is done."""
    name = request.headers.get("Idempotency-Key", "")
    wish, about = await _wish(request)
    if not name:
        return _accepted(request, await submitted(request, wish), wish)
    claim = once.Claim.of(request, name, about)
    if job := await claim.earlier(request):
        return _accepted(request, job, wish)
    job = await submitted(request, wish, message_id=claim.message_id)
    await claim.keep(request, job)
    return _accepted(request, job, wish)


async def _wish(request: web.Request) -> tuple[SubmitRequest, bytes]:
    """What is asked for, and bytes that are the same if it is asked for again. Raises Problem."""
    if request.content_type == "multipart/form-data":
        form = await receive(request)
        wish = wish_of(_with_file(form))
        anew = msgspec.structs.replace(wish, media=form.file.sha256 if form.file else wish.media)
        return wish, msgspec.json.encode(anew)
    wish = wish_of(await read_object(request))
    return wish, msgspec.json.encode(wish)


def _with_file(form: Form) -> dict[str, Any]:
    fields: dict[str, Any] = dict(last_of(form.fields))
    if form.file:
        if taken := {"url", "media"} & fields.keys():
            raise Problem(400, f"the form has a file and a {taken.pop()}: send one of them", param="file")
        fields["media"] = form.file.key
        fields.setdefault("title", form.file.name)
    return fields


def _accepted(request: web.Request, job: str, wish: SubmitRequest) -> web.Response:
    known = request.app[BOARD].find(job) or Job(job, submitted=fact(job, wish))
    return web.json_response(summary(known), status=202, headers={"Location": f"/v1/jobs/{job}"})
