"""The OpenAI API, and whatever speaks it, such as Groq, speaches, LocalAI and vLLM."""

from schemas.options import Request
from v2t_stream.errors import Reject
from v2t_stream.transcription.providers import OpenAI
from v2t_stream.transcription.remote.answer import HeardSegment, HeardWord, convert, transcription
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.remote.http import Service
from v2t_stream.transcription.transcriber import Transcription

_TIMELESS = "gpt-"  # models of this family answer with text alone


def left_out(request: Request) -> set[str]:
    """Which of the job's hints the API has no field for."""
    return hints(request).keys() & {"beam_size"}


def hear(provider: OpenAI, service: Service, audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    timeless = request.model.startswith(_TIMELESS)
    if request.word_timestamps and timeless:
        raise Reject(f"{provider.name}: the model {request.model!r} gives no times of words: whisper-1 does")
    if request.task == "translate" and timeless:
        raise Reject(f"{provider.name}: the model {request.model!r} does not translate: whisper-1 does")
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [
        ("model", request.model),
        ("response_format", "json" if timeless else "verbose_json"),
    ]
    # Translations know neither: their source language is always detected, and their times are by the segment.
    if request.task == "transcribe":
        if request.language:
            fields.append(("language", request.language))
        if not timeless:
            wanted = ("segment", "word") if request.word_timestamps else ("segment",)
            fields += [("timestamp_granularities[]", name) for name in wanted]
    if prompt := _prompt(provider, request):
        fields.append(("prompt", prompt))
    if request.hotwords and provider.hotwords_field:
        fields.append((provider.hotwords_field, request.hotwords))
    if temperature := hints(request).get("temperature"):
        fields.append(("temperature", temperature))
    fields.append(("file", ("chunk.flac", audio, "audio/flac")))
    path = "translations" if request.task == "translate" else "transcriptions"
    headers = {"Authorization": f"Bearer {provider.key}"} if provider.key else {}
    said = service.post(f"{provider.base_url.rstrip('/')}/audio/{path}", fields, headers, provider.key)
    answer = convert(said, dict, provider.name)
    return transcription(
        convert(answer.get("segments") or [], list[HeardSegment], provider.name),
        convert(answer.get("words") or [], list[HeardWord], provider.name),
        text=convert(answer.get("text") or "", str, provider.name),
        language=convert(answer.get("language") or "", str, provider.name),
        seconds=seconds,
        request=request,
    )


def _prompt(provider: OpenAI, request: Request) -> str:
    """The provider's prompt, the job's, and its hotwords: Whisper forgets the beginning of what is too long."""
    hotwords = "" if provider.hotwords_field else request.hotwords
    return " ".join(text.strip() for text in (provider.prompt, request.prompt, hotwords) if text and text.strip())
