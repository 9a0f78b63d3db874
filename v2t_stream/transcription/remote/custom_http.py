"""A form POST of the user's own description, as whisper.cpp's server and whisper-asr-webservice take."""

import string
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from schemas.options import Request
from v2t_stream.errors import Reject
from v2t_stream.transcription.providers import PLACEHOLDERS, CustomHttp
from v2t_stream.transcription.remote.answer import HeardSegment, HeardWord, convert, transcription
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.remote.http import Service
from v2t_stream.transcription.transcriber import Transcription


def left_out(provider: CustomHttp, request: Request) -> set[str]:
    """Which of the job's hints have no placeholder in what is sent."""
    return hints(request).keys() - _told(provider, request)


def hear(provider: CustomHttp, service: Service, audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    if request.task == "translate" and not {"task", "translate"} & _told(provider, request):
        raise Reject(f"{provider.name} cannot be asked to translate: its form has neither {{task}} nor {{translate}}")
    values = _values(request)
    query, form = _templates(provider)
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [*_filled(form, values)]
    fields.append((provider.file_field, ("chunk.flac", audio, "audio/flac")))
    url = urlunsplit(urlsplit(provider.url)._replace(query=urlencode(_filled(query, values))))
    headers = {"Authorization": f"Bearer {provider.key}"} if provider.key else {}
    said = service.post(url, fields, headers, provider.key)
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
    """What the placeholders stand for; empty where the job says nothing."""
    return dict.fromkeys(PLACEHOLDERS, "") | {
        "language": request.language or "",
        "task": request.task,
        "model": request.model,
        "words": str(request.word_timestamps).lower(),
        "translate": str(request.task == "translate").lower(),
        **hints(request),
    }


def _templates(provider: CustomHttp) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Of the query and of the form, with their placeholders."""
    return parse_qsl(urlsplit(provider.url).query, keep_blank_values=True), list(provider.fields.items())


def _told(provider: CustomHttp, request: Request) -> set[str]:
    """The placeholders of the fields that are sent."""
    values = _values(request)
    texts = [text for fields in _templates(provider) for _, text in fields]
    return {name for text in texts if _is_sent(text, values) for name in _placeholders(text)}


def _filled(fields: list[tuple[str, str]], values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text.format_map(values)) for name, text in fields if _is_sent(text, values)]


def _is_sent(text: str, values: Mapping[str, str]) -> bool:
    """A field whose placeholder has nothing to say is left out."""
    return all(values[name] for name in _placeholders(text))


def _placeholders(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def _at(said: Any, path: str) -> Any:
    """What lies in JSON at names joined by dots; None where nothing does. An empty path is the whole."""
    for name in path.split(".") if path else ():
        said = said.get(name) if isinstance(said, dict) else None
    return said
