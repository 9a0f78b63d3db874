"""`GET /v1/jobs/ID/transcript.FORMAT`."""

from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from schemas.message import fault
from schemas.transcript import Transcript
from v2t_stream.errors import ObjectMissing
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs.assembly import assemble, last_prefix
from v2t_stream.jobs.formats import CAPTIONS, FORMATS, KARAOKE, render
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.written import written
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.described import described
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import ID, check_single, job_of
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, flag
from v2t_stream.serve.types import SHAPING
from v2t_stream.subtitles.style import BROADCAST, PLAIN, STYLES, Style

routes = web.RouteTableDef()

_LIMITS: Final = Style.__struct_fields__
TYPES: Final = {
    "json": "application/json",
    "vtt": "text/vtt",
    "md": "text/markdown",
    "tsv": "text/tab-separated-values",
    "ttml": "application/ttml+xml",
}


@routes.get("/v1/jobs/{job}/transcript.{format}")
@described(
    query=SHAPING
    | {
        "original": Annotated[bool, Meta(description="as the engines made it, even if somebody has corrected it")],
        "download": Annotated[bool, Meta(description="let a browser save it as a file")],
    },
    answer=Transcript,
    media=("text/plain", *(kind for kind in TYPES.values() if kind != "application/json")),
)
async def transcript(request: web.Request) -> web.Response:
    """Give the transcript in a format, shaped in a style; of a running job what there is so far."""
    query = checked(request, "style", "highlight_words", "original", "download", *_LIMITS)
    format_, style, highlight = request.match_info["format"], _style(query), flag(query, "highlight_words")
    if format_ not in FORMATS:
        raise Problem(404, f"unknown format {format_!r}: choose one of {', '.join(FORMATS)}", param="format")
    _check_shapes(format_, style, highlight=highlight)
    store = request.app[PIPELINE].store
    job, prefix = await _found(request, original=flag(query, "original"))
    headers = {"X-V2T-State": job.state if job.sequences or not prefix else "completed", "X-V2T-Transcript": prefix}
    if flag(query, "download"):
        headers["Content-Disposition"] = f'attachment; filename="{job.id}.{format_}"'
    if prefix:
        try:
            text = await written(store, prefix, format_, style=style, highlight=highlight)
        except ObjectMissing:
            raise Problem(410, f"the transcript of job {job.id} has expired: retry the job to make a new one") from None
    else:
        text = await _so_far(job, format_, style, highlight=highlight)
    return web.Response(text=text, content_type=TYPES.get(format_, "text/plain"), charset="utf-8", headers=headers)


async def _found(request: web.Request, *, original: bool) -> tuple[Job, str]:
    """The job and the prefix of its transcript, empty while it has none. Raises Problem."""
    try:
        job = await job_of(request)
    except Problem as problem:
        if problem.status == 404 and (prefix := await _outlived(request, original=original)):
            return Job(request.match_info["job"]), prefix
        raise
    check_single(job)
    if original and job.completed and job.corrected:
        return job, job.corrected.of
    return job, job.transcript


async def _outlived(request: web.Request, *, original: bool) -> str:
    """The prefix of a transcript that has outlived the facts of its job, which say who may know of it."""
    id_ = request.match_info["job"]
    if not ID.fullmatch(id_) or request.app[BOARD].find(id_) or not caller(request).sees(Job(id_)):
        return ""
    return await last_prefix(request.app[PIPELINE].store, id_, original=original) or ""


def _check_shapes(format_: str, style: Style | None, *, highlight: bool) -> None:
    """Raises Problem for a parameter that would change nothing."""
    if highlight and format_ not in KARAOKE:
        raise Problem(
            400, f"{format_} cannot show the time of each word: get {' or '.join(KARAOKE)}", param="highlight_words"
        )
    if style is not None and format_ not in CAPTIONS:
        raise Problem(
            400, f"a style shapes only subtitles, not {format_}: get one of {', '.join(CAPTIONS)}", param="style"
        )


async def _so_far(job: Job, format_: str, style: Style | None, *, highlight: bool) -> str:
    if job.ended:
        why = f" ({job.reason})" if job.reason else ""
        raise Problem(409, f"job {job.id} has no transcript: it is {job.state}{why}")
    return await in_thread(lambda: render(assemble(job), format_, style=style, highlight=highlight))


def _style(query: dict[str, str]) -> Style | None:
    """The style that the parameters ask for; None: a cue for each segment. Raises Problem."""
    name: str = query.get("style", "")
    if name and name not in STYLES:
        raise Problem(400, f"unknown style {name!r}: choose one of {', '.join(STYLES)}", param="style")
    limits = {limit: query[limit] for limit in _LIMITS if limit in query}
    if not limits:
        return STYLES[name] if name else None
    if name == PLAIN:
        raise Problem(400, f"the style {PLAIN} has no limits: leave out {next(iter(limits))}", param=next(iter(limits)))
    base: dict[str, Any] = msgspec.structs.asdict(STYLES[name or "broadcast"] or BROADCAST)
    try:
        style = msgspec.convert(base | limits, Style, strict=False)
    except msgspec.ValidationError as error:
        reason, limit = fault(error)
        raise Problem(400, f"the style is not valid: {reason}", param=limit or "style") from None
    if style.min_cue > style.max_cue:
        raise Problem(400, f"min_cue={style.min_cue:g} is more than max_cue={style.max_cue:g}", param="min_cue")
    return style
