"""The parameters of a transcription: each is honoured, or refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import structs

from schemas.options import Task
from schemas.requests import SubmitRequest
from v2t_stream.languages import code_of
from v2t_stream.serve.models import DIARIZING, meant
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import flag, number
from v2t_stream.serve.submitting import FIELDS, wish_of
from v2t_stream.text import one_line

FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_STREAMED: Final = ("json", "text", "diarized_json")
_GRANULARITIES: Final = ("word", "segment")
_PROMPT: Final = 1000  # characters; Whisper forgets what comes before its last 223 tokens
_ANY: Final = 1_000_000

_OPENAI: Final = (
    *("model", "language", "languages", "prompt", "response_format", "temperature", "timestamp_granularities"),
    *("stream", "keywords", "hotwords", "chunking_strategy", "include", "known_speaker_names"),
    "known_speaker_references",
)
_CHUNKING: Final = ("chunking_strategy[type]", "chunking_strategy[threshold]")
_HARMLESS: Final = ("user",)  # what LiteLLM and others send with every request; it changes nothing
# The options of a job that have no name of OpenAI's.
_OURS: Final = tuple(
    name for name in FIELDS if name not in (*_OPENAI, "url", "media", "limit", "task", "word_timestamps")
)
_VOICES: Final = "a request cannot teach voices: teach them with `v2t voices add`, then send voices=true"
_REFUSED: Final = {
    "include": "the engines give no log probabilities of tokens: leave it out",
    "known_speaker_names": _VOICES,
    "known_speaker_references": _VOICES,
}

Format = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]


# What a client generator may know of the form; OpenAI's own clients also send names with brackets.
FORM: Final[dict[str, Any]] = {
    **{field.name: field.type for field in structs.fields(SubmitRequest) if field.name in _OURS},
    **dict.fromkeys(("model", "language", "prompt", "hotwords", "chunking_strategy"), str),
    "response_format": Format,
    "temperature": float,
    "stream": bool,
    **{f"{name}[]": list[str] for name in ("languages", "keywords", "timestamp_granularities")},
}


class Asked(NamedTuple):
    """What a client asks for."""

    wish: SubmitRequest  # without the media
    format: str  # one of FORMATS
    granularities: Sequence[str]
    stream: bool


def asked(form: Mapping[str, Sequence[str]], task: Task) -> Asked:
    """What the fields of a form ask for. Raises Problem and Reject, which name the parameter at fault."""
    fields = _named(form)
    _check_known(fields)
    last = {name: values[-1] for name, values in fields.items() if values[-1].strip()}
    format_ = _format(last, task)
    granularities = _granularities(fields, format_)
    stream = flag(last, "stream")
    if stream and format_ not in _STREAMED:
        known = ", ".join(_STREAMED)
        raise Problem(
            400, f"response_format={format_} cannot be streamed: use {known}, or leave out stream", param="stream"
        )
    options: dict[str, Any] = {
        **{name: last[name] for name in _OURS if name in last},
        "model": meant(last.get("model", "")),
        "task": task,
        "language": _language(fields),
        "prompt": prompt_of(last.get("prompt", "")),
        "hotwords": _hotwords(fields),
        "temperature": number(last, "temperature", most=1) or None,  # 0 is what an engine does anyway
        "word_timestamps": "word" in granularities,
        **_chunking(last),
    }
    if format_ == "diarized_json":
        options.setdefault("speakers", "auto")
    return Asked(wish_of(options), format_, granularities, stream)


def _named(form: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The fields with the names that the documentation gives them: a client writes a list as `name[]`."""
    fields: dict[str, list[str]] = {}
    for name, values in form.items():
        fields.setdefault(name.removesuffix("[]"), []).extend(values)
    return fields


def _check_known(fields: Mapping[str, Sequence[str]]) -> None:
    for name, values in fields.items():
        if name == "file":
            raise Problem(400, "the file has no file name: send it as a file, with filename=…", param="file")
        if name in _REFUSED and any(value.strip() for value in values):
            raise Problem(400, f"{name} is not supported: {_REFUSED[name]}", param=name)
        if name not in (*_OPENAI, *_CHUNKING, *_HARMLESS, *_OURS):
            if name.startswith("chunking_strategy["):
                raise Problem(400, f"{name} is not supported: chunks end at silences of any length", param=name)
            known = ", ".join(["file", *_OPENAI, *_OURS])
            raise Problem(400, f"unknown parameter {name!r}: there are {known}", param=name)


def _format(last: Mapping[str, str], task: Task) -> str:
    usual = "diarized_json" if last.get("model") == DIARIZING and "speakers" in last else "json"
    found = last.get("response_format", usual)
    known = FORMATS if task == "transcribe" else tuple(name for name in FORMATS if name != "diarized_json")
    if found not in known:
        raise Problem(400, f"unknown response_format {found!r}: use {', '.join(known)}", param="response_format")
    return found


def _granularities(fields: Mapping[str, Sequence[str]], format_: str) -> Sequence[str]:
    found = [value for value in fields.get("timestamp_granularities", ()) if value.strip()]
    name = "timestamp_granularities[]"
    if unknown := [value for value in found if value not in _GRANULARITIES]:
        raise Problem(400, f"unknown {name}={unknown[0]!r}: use {' or '.join(_GRANULARITIES)}", param=name)
    if "word" in found and format_ != "verbose_json":
        raise Problem(400, f"{name}=word needs response_format=verbose_json, not {format_}", param=name)
    return found or ("segment",)


def _language(fields: Mapping[str, Sequence[str]]) -> str | None:
    several = [value for value in fields.get("languages", ()) if value.strip()]
    if len(several) > 1:
        raise Problem(
            400,
            "several languages cannot be told to an engine: send one, or leave them out to have it detected",
            param="languages",
        )
    found = next((value for value in (*fields.get("language", ()), *several) if value.strip()), "").strip()
    return language_of(found)


def language_of(found: str) -> str | None:
    """The code of a language that a client names; None if it is to be detected. Raises Problem."""
    if found.lower() in ("", "auto"):
        return None
    if code := code_of(found):
        return code
    raise Problem(400, f"unknown language {found!r}: use an ISO 639 code such as en, zh or de", param="language")


def prompt_of(text: str) -> str | None:
    """The prompt of a job: the end of a longer one."""
    return one_line(text, _ANY)[-_PROMPT:].strip() or None


def _hotwords(fields: Mapping[str, Sequence[str]]) -> str | None:
    words = [one_line(value, _ANY) for name in ("keywords", "hotwords") for value in fields.get(name, ())]
    text = ", ".join(word for word in words if word.strip(" ,"))
    return text or None


def _chunking(last: Mapping[str, str]) -> dict[str, Any]:
    """Ours are always cut by voice detection, whose threshold may be given."""
    text = last.get("chunking_strategy", "auto")
    named: dict[str, Any] = {
        name.partition("[")[2].rstrip("]"): value for name, value in last.items() if name in _CHUNKING
    }
    if text != "auto":
        try:
            named = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            raise Problem(
                400, f"unknown chunking_strategy {text!r}: use auto or server_vad", param="chunking_strategy"
            ) from None
    if named.get("type", "server_vad") not in ("server_vad", "auto"):
        raise Problem(
            400, f"unknown chunking_strategy {named['type']!r}: use auto or server_vad", param="chunking_strategy"
        )
    if unknown := [name for name in named if name not in ("type", "threshold")]:
        name = f"chunking_strategy[{unknown[0]}]"
        raise Problem(400, f"{name} is not supported: chunks end at silences of any length", param=name)
    if "threshold" not in named:
        return {}
    return {"vad_threshold": named["threshold"]}
