"""A form POST that the user describes, as for whisper.cpp's server and whisper-asr-webservice."""

import string
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from schemas.options import HINTS, Request
from v2t_stream.engines.descriptor import Abilities
from v2t_stream.errors import SettingsError
from v2t_stream.transcription.provider import Http, ServiceDescriptor
from v2t_stream.transcription.remote.answer import HeardSegment, HeardWord, convert, transcription
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.result import Transcription

if TYPE_CHECKING:  # urllib3 takes a while to import
    from v2t_stream.transcription.remote.http import Caller

PLACEHOLDERS: Final = ("language", "task", "model", "words", "translate", *HINTS)


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are in a JSON answer, as names joined by dots."""

    text: str = "text"
    segments: str = "segments"
    language: str = "language"


class CustomHttp(Http, frozen=True, kw_only=True):
    """A form POST with the audio as a file. The query and the fields may have placeholders, such as {language}."""

    ADDRESS: ClassVar[str] = "url"

    type: Literal["custom_http", "custom-http"]
    url: str
    fields: Mapping[str, str] = {}
    file_field: str = "file"
    response: Response = Response()

    def able(self, model: str) -> Abilities:  # noqa: ARG002  what it is asked for depends on the form alone
        """What its form has placeholders for."""
        query, form = _templates(self)
        named = {name for _, text in (*query, *form) for name in _placeholders(text)}
        return Abilities(translates=bool(named & {"task", "translate"}), hints=frozenset(HINTS) & named)

    def check(self) -> None:
        super().check()
        for text in (urlsplit(self.url).query, *self.fields.values()):
            try:
                named = _placeholders(text)
            except ValueError:
                raise SettingsError(f"{text!r} has an unmatched brace: write a literal brace twice") from None
            for name in named:
                if name not in PLACEHOLDERS:
                    near = get_close_matches(name, PLACEHOLDERS, n=1)
                    advice = f"did you mean {near[0]}?" if near else f"use one of {', '.join(PLACEHOLDERS)}"
                    raise SettingsError(f"unknown placeholder {{{name}}}: {advice}")


def left_out(provider: CustomHttp, request: Request) -> set[str]:
    """Hints whose field is not sent because another placeholder in it is empty."""
    return hints(request).keys() - _told(provider, request)


def hear(provider: CustomHttp, caller: "Caller", audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    values = _values(request)
    query, form = _templates(provider)
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [*_filled(form, values)]
    fields.append((provider.file_field, ("chunk.flac", audio, "audio/flac")))
    url = urlunsplit(urlsplit(provider.url)._replace(query=urlencode(_filled(query, values))))
    headers = {"Authorization": f"Bearer {provider.key}"} if provider.key else {}
    said = caller.post(url, fields, headers, provider.key, model=request.model)
    where = provider.response
    return transcription(
        convert(_at(said, where.segments) or [], list[HeardSegment], provider.name),
        convert(_at(said, "words") or [], list[HeardWord], provider.name),
        text=convert(_at(said, where.text) or "", str, provider.name),
        language=convert(_at(said, where.language) or "", str, provider.name),
        seconds=seconds,
        request=request,
    )


def _values(request: Request) -> dict[str, str]:
    """The values of the placeholders; empty if the job does not say."""
    return dict.fromkeys(PLACEHOLDERS, "") | {
        "language": request.language or "",
        "task": request.task,
        "model": request.model,
        "words": str(request.word_timestamps).lower(),
        "translate": str(request.task == "translate").lower(),
        **hints(request),
    }


def _templates(provider: CustomHttp) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The fields of the query and of the form, with their placeholders."""
    return parse_qsl(urlsplit(provider.url).query, keep_blank_values=True), list(provider.fields.items())


def _told(provider: CustomHttp, request: Request) -> set[str]:
    """The placeholders of the fields that are sent."""
    values = _values(request)
    texts = [text for fields in _templates(provider) for _, text in fields]
    return {name for text in texts if _is_sent(text, values) for name in _placeholders(text)}


def _filled(fields: list[tuple[str, str]], values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text.format_map(values)) for name, text in fields if _is_sent(text, values)]


def _is_sent(text: str, values: Mapping[str, str]) -> bool:
    """A field with an empty placeholder is left out."""
    return all(values[name] for name in _placeholders(text))


def _placeholders(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def _at(said: Any, path: str) -> Any:
    """What is in JSON at names joined by dots; None if nothing is. An empty path means all of it."""
    for name in path.split(".") if path else ():
        said = said.get(name) if isinstance(said, dict) else None
    return said


SERVICE: Final = ServiceDescriptor(settings=CustomHttp, hear=hear, left_out=left_out)
