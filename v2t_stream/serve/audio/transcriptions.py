"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

import asyncio
import contextlib
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta
from msgspec.structs import replace

from schemas.options import Task
from v2t_stream.errors import Reject
from v2t_stream.jobs.submission import check
from v2t_stream.serve import models
from v2t_stream.serve.audio.answers import about, document, headers, languages, spoken, text_of
from v2t_stream.serve.audio.deltas import Deltas
from v2t_stream.serve.audio.parameters import FORM, Asked, asked
from v2t_stream.serve.audio.types import Transcription
from v2t_stream.serve.audio.work import KEEP, Work, taken, work
from v2t_stream.serve.described import described
from v2t_stream.serve.forms import Fields, receiving
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.serve.sse import Stream

routes = web.RouteTableDef()

_SILENT: Final = 10.0  # seconds until a stream begins without words; what goes wrong before it has a status
_TAKES: Final[dict[str, Any]] = {
    "form": FORM,
    "has_file": True,
    "headers": {KEEP: Annotated[bool, Meta(description="the job goes on if the client goes away")]},
    "answer": Transcription,
    "media": ("text/plain", "text/vtt", "text/event-stream"),
}


@routes.post("/v1/audio/transcriptions")
@described(**_TAKES)
async def transcriptions(request: web.Request) -> web.StreamResponse:
    """Write down what is said."""
    return await _answered(request, "transcribe")


@routes.post("/v1/audio/translations")
@described(**_TAKES)
async def translations(request: web.Request) -> web.StreamResponse:
    """Write down in English what is said."""
    return await _answered(request, "translate")


async def _answered(request: web.Request, task: Task) -> web.StreamResponse:
    checked(request)
    async with receiving(request, early=lambda fields: _is_streamed(fields, task)) as form:
        async with taken(request, form.file):
            what = asked(form.fields, task)
            if form.file is None:
                raise Problem(400, "the form has no file: send the recording as file", param="file")
            wish = replace(what.wish, media=form.file.key, title=what.wish.title or form.file.name or None)
            await models.check(request, wish)
            check(wish)
        async with work(request, wish) as mine:
            return await (_streamed if what.stream else _whole)(request, mine, what)


def _is_streamed(fields: Fields, task: Task) -> bool:
    """Whether a client waits for words while it sends. What is wrong with the fields is said when all have come."""
    with contextlib.suppress(Problem, Reject):
        return asked(fields, task).stream
    return False


async def _whole(_: web.Request, mine: Work, what: Asked) -> web.Response:
    """Answer when the job is done."""
    record = await mine.end()
    told, found = headers(record), document(record, what)
    if isinstance(found, str):
        kind = "text/vtt" if what.format == "vtt" else "text/plain"
        return web.Response(text=found, content_type=kind, charset="utf-8", headers=told)
    return web.Response(body=msgspec.json.encode(found), content_type="application/json", headers=told)


async def _streamed(request: web.Request, mine: Work, what: Asked) -> web.StreamResponse:
    """Tell the words as they become final."""
    stream, deltas = Stream(request), Deltas()
    stream.response.headers["X-V2T-Job"] = mine.id
    async with mine.news() as news:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SILENT):
                while not mine.job.chunks and await news.more():
                    pass
        async with stream:
            is_going = True
            while is_going:
                await _tell_delta(stream, deltas.of(mine.job))
                is_going = await news.more()
            await _tell_end(stream, mine, what, deltas)
    return stream.response


async def _tell_end(stream: Stream, mine: Work, what: Asked, deltas: Deltas) -> None:
    record = await mine.transcript()
    text = text_of(record)
    await _tell_delta(stream, deltas.rest(text))
    if what.format == "diarized_json":  # only now it is known who speaks: all that was said is compared
        for segment in spoken(record):
            await _tell(stream, segment)
    await _tell(stream, {"type": "transcript.text.done", "text": text, **languages(record), "x_v2t": about(record)})


async def _tell_delta(stream: Stream, text: str) -> None:
    if text:
        await _tell(stream, {"type": "transcript.text.delta", "delta": text})


async def _tell(stream: Stream, event: dict[str, object]) -> None:
    await stream.send("", msgspec.json.encode(event).decode())
