"""A form POST of the user's own description, as whisper.cpp's server and whisper-asr-webservice take."""

import string
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from schemas.options import Request
from stages.remote.answer import HeardSegment, HeardWord, convert, transcription
from stages.remote.http import Service
from v2t_stream.providers import CustomHttp
from v2t_stream.transcriber import Transcription


def hear(provider: CustomHttp, service: Service, audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    values = {
        "language": request.language or "",
        "task": request.task,
        "model": request.model,
        "words": str(request.word_timestamps).lower(),
        "translate": str(request.task == "translate").lower(),
    }
    parts = urlsplit(provider.url)
    query = _filled(parse_qsl(parts.query, keep_blank_values=True), values)
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [*_filled(list(provider.fields.items()), values)]
    fields.append((provider.file_field, ("chunk.flac", audio, "audio/flac")))
    headers = {"Authorization": f"Bearer {provider.key}"} if provider.key else {}
    said = service.post(urlunsplit(parts._replace(query=urlencode(query))), fields, headers, provider.key)
    where = provider.response
    return transcription(
        convert(_at(said, where.segments) or [], list[HeardSegment], provider.name),
        convert(_at(said, "words") or [], list[HeardWord], provider.name),
        text=convert(_at(said, where.text) or "", str, provider.name),
        language=convert(_at(said, where.language) or "", str, provider.name),
        seconds=seconds,
        request=request,
    )


def _filled(fields: list[tuple[str, str]], values: Mapping[str, str]) -> list[tuple[str, str]]:
    """With the placeholders replaced; a field whose placeholder has nothing to say is left out."""
    filled = []
    for name, text in fields:
        asked = [placeholder for _, placeholder, _, _ in string.Formatter().parse(text) if placeholder]
        if all(values[placeholder] for placeholder in asked):
            filled.append((name, text.format_map(values)))
    return filled


def _at(said: Any, path: str) -> Any:
    """What lies in JSON at names joined by dots; None where nothing does. An empty path is the whole."""
    for name in path.split(".") if path else ():
        said = said.get(name) if isinstance(said, dict) else None
    return said
