"""`PATCH /v1/jobs/ID/transcript`: corrections by people, segment by segment."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from schemas.transcript import Transcript
from v2t_stream.jobs.copies import recopy
from v2t_stream.jobs.corrections import correct
from v2t_stream.jobs.edited import rewritten
from v2t_stream.jobs.state import Job
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.bodies import read_as
from v2t_stream.serve.conflicts import conflicts
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import job_of, transcribed
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.text import one_line, quoted

routes = web.RouteTableDef()


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New texts for segments, by their place in the transcript from 0; an empty text removes a segment."""

    of: str  # the transcript that the client has read: the header X-V2T-Transcript
    segments: dict[str, str]


@routes.patch("/v1/jobs/{job}/transcript")
@described(body=Correction, answer=dict[str, str])
async def patch(request: web.Request) -> web.Response:
    """Correct segments of a transcript; the others stay as they are."""
    checked(request)
    wanted = await read_as(request, Correction)
    job, record = await transcribed(request)
    if wanted.of != job.transcript:
        raise Problem(409, f"the transcript of job {job.id} has changed since you read it: read it again")
    texts = {_place(record, n): text for n, text in wanted.segments.items()}
    changed = rewritten(record, texts)
    prefix = job.transcript if changed is record else await store_correction(request, job, changed)
    return web.json_response({"transcript": prefix, "segments": dict(_now(record, changed, texts))})


def _place(record: Transcript, n: str) -> int:
    last = len(record.segments) - 1
    is_number = n.isascii() and n.isdecimal() and len(n) <= len(str(last))  # Python reads no number of any length
    if not is_number or int(n) > last:
        raise Problem(400, f"the transcript has no segment {quoted(n)}: it has 0 to {last}", param="segments")
    return int(n)


def _now(before: Transcript, after: Transcript, texts: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    """The segments that the client named, as they are now; None for one that is gone."""
    left = iter(after.segments)
    for n, segment in enumerate(before.segments):
        is_gone = n in texts and not one_line(texts[n]) and bool(one_line(segment.text))
        now = None if is_gone else next(left)
        if n in texts:
            yield str(n), msgspec.to_builtins(now)


async def store_correction(request: web.Request, job: Job, record: Transcript) -> str:
    """Let `record` count as the transcript of the job; returns its prefix. Raises Problem and V2TError."""
    pipeline, settings = request.app[PIPELINE], request.app[SETTINGS]
    with conflicts():
        by = caller(request).name or "the page"
        fact = await correct(pipeline.connection, pipeline.store, job, record, by=by)
    await recopy(pipeline.connection, pipeline.store, settings, job, record)
    await request.app[BOARD].reach(await job_of(request))
    return fact.transcript
