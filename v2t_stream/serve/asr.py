"""`POST /asr` and `/detect-language`, as whisper-asr-webservice 1.9 has them: Bazarr and others know no other API."""

import contextlib
import struct
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Meta

from schemas.options import Task
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from v2t_stream.jobs.formats import render
from v2t_stream.languages import name_of
from v2t_stream.serve import models
from v2t_stream.serve.audio.answers import about, headers, names_of, segment_of, text_of
from v2t_stream.serve.audio.parameters import language_of, prompt_of
from v2t_stream.serve.audio.work import Work, taken, work
from v2t_stream.serve.described import described, description_of
from v2t_stream.serve.forms import receive
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked, flag, number
from v2t_stream.serve.spool import Upload
from v2t_stream.serve.submitting import wish_of

routes = web.RouteTableDef()

_OUTPUTS: Final = ("txt", "vtt", "srt", "tsv", "json")
_FILE: Final = "audio_file"
_RATE: Final = 16_000  # of what a client has decoded itself: signed 16 bits, little endian, one channel
# How the files begin that a client may send by mistake as if it had decoded them.
_CONTAINERS: Final = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3", b"FORM", b"caff")
_OPEN: Final = 0xFFFFFFFF  # a length that is not known when the header is written
_MOST: Final = 99  # speakers


_TITLE: Final = Annotated[str, Meta(description="the title of the job")]
_MODEL: Final = Annotated[str, Meta(description="a model; each node's own if not given")]
_ENCODE: Final = Annotated[bool, Meta(description="false: the file is bare samples, 16 bits at 16 kHz, mono")]


class Detected(TypedDict):
    """Empty if nobody speaks."""

    detected_language: NotRequired[str]
    language_code: NotRequired[str]
    confidence: NotRequired[None]


@routes.post("/asr")
@described(
    query={
        "encode": _ENCODE,
        "task": Task,
        "language": str,
        "initial_prompt": str,
        "vad_filter": bool,
        "word_timestamps": bool,
        "diarize": bool,
        "min_speakers": int,
        "max_speakers": int,
        "output": Literal["txt", "vtt", "srt", "tsv", "json"],
        "model": _MODEL,
        "video_file": _TITLE,
    },
    has_file=True,
    file=_FILE,
    media=("text/plain",),
)
async def asr(request: web.Request) -> web.Response:
    """Write down what is said, or translate it."""
    query = checked(request, *description_of(asr).query)
    output = query.get("output", "txt")
    if output not in _OUTPUTS:
        raise Problem(400, f"unknown output {output!r}: use {', '.join(_OUTPUTS)}", param="output")
    wish = wish_of(_options(query))
    file, wish = await _received(request, query, wish)
    async with work(request, wish) as mine:
        record = await mine.end()
    told = {
        **headers(record),
        "Asr-Engine": ", ".join(name.replace("-", "_") for name in record.engines),
        "Content-Disposition": f'attachment; filename="{quote(file.name)}.{output}"',
    }
    return web.Response(text=_written(record, output), content_type="text/plain", charset="utf-8", headers=told)


@routes.post("/detect-language")
@described(query={"encode": _ENCODE, "model": _MODEL, "video_file": _TITLE}, has_file=True, file=_FILE, answer=Detected)
async def detect_language(request: web.Request) -> web.Response:
    """Say which language is spoken, as soon as a chunk tells; the rest of the file is not transcribed."""
    query = checked(request, *description_of(detect_language).query)
    _, wish = await _received(request, query, wish_of({"model": models.meant(query.get("model", ""))}))
    async with work(request, wish) as mine:
        code = await _heard(mine)
    # Bazarr takes an empty object for "nothing was detected", and goes on.
    told = {"detected_language": name_of(code), "language_code": code, "confidence": None} if code else {}
    return web.json_response(told)


def _options(query: Mapping[str, str]) -> dict[str, Any]:
    """The options of a job that the parameters ask for. Raises Problem."""
    task = query.get("task") or "transcribe"
    if task not in ("transcribe", "translate"):
        raise Problem(400, f"unknown task {task!r}: use transcribe or translate", param="task")
    options: dict[str, Any] = {
        "task": task,
        "model": models.meant(query.get("model", "")),
        "language": language_of(query.get("language", "")),
        "prompt": prompt_of(query.get("initial_prompt", "")),
        "word_timestamps": flag(query, "word_timestamps"),
    }
    if "vad_filter" in query and not flag(query, "vad_filter"):
        options["vad_threshold"] = 0
    if flag(query, "diarize"):
        options["speakers"] = _speakers(query)
    return options


def _speakers(query: Mapping[str, str]) -> str:
    least = int(number(query, "min_speakers", least=1, most=_MOST) or 0)
    most = int(number(query, "max_speakers", least=1, most=_MOST) or 0)
    if least and most and least > most:
        raise Problem(400, f"min_speakers={least} is more than max_speakers={most}", param="min_speakers")
    if not (least or most):
        return "auto"
    return str(least) if least == most else f"{least or 1}-{most or _MOST}"


async def _received(
    request: web.Request, query: Mapping[str, str], wish: SubmitRequest
) -> tuple[Upload, SubmitRequest]:
    """The file, and the submission for it. Raises Problem and V2TError."""
    is_decoded = "encode" in query and not flag(query, "encode")
    await models.check(request, wish)
    form = await receive(request, [_FILE], head=wave_header if is_decoded else None)
    async with taken(request, form.file):
        if form.fields:
            name = next(iter(form.fields))
            raise Problem(400, f"unknown field {name!r}: send {_FILE} alone, and the rest in the address", param=name)
        if form.file is None:
            raise Problem(400, f"the form has no file: send the recording as {_FILE}", param=_FILE)
    title = query.get("video_file") or form.file.name or None
    return form.file, msgspec.structs.replace(wish, media=form.file.key, title=title)


def wave_header(begin: bytes) -> bytes:
    """What makes a WAV file of decoded samples, by their first bytes; empty if they are in a container already."""
    if begin.startswith(_CONTAINERS) or begin[4:8] == b"ftyp":
        return b""
    return struct.pack(
        *("<4sI4s4sIHHIIHH4sI", b"RIFF", _OPEN, b"WAVE"),
        *(b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16, b"data", _OPEN),
    )


async def _heard(mine: Work) -> str:
    """The code of the job's language; empty if nobody speaks."""
    async with contextlib.aclosing(mine.states()) as states:
        async for job in states:
            if job.language:
                return job.language.language
            if first := next((chunk.language for _, chunk in sorted(job.chunks.items()) if chunk.language), None):
                return first
    return (mine.job.completed and mine.job.completed.language) or ""


def _written(record: Transcript, output: str) -> str:
    return msgspec.json.encode(_json(record)).decode() if output == "json" else render(record, output)


def _json(record: Transcript) -> dict[str, Any]:
    """The transcript in Whisper's own shape."""
    names = names_of(record)
    segments = []
    for n, segment in enumerate(record.segments):
        told = segment_of(n, segment)
        if segment.words:
            told["words"] = [
                {"start": word.start, "end": word.end, "word": word.text, "probability": word.probability}
                for word in segment.words
            ]
        if segment.speaker:
            told["speaker"] = names.get(segment.speaker, segment.speaker)
        segments.append(told)
    return {"text": text_of(record), "segments": segments, "language": record.language, "x_v2t": about(record)}
