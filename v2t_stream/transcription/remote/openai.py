"""The OpenAI API, and whatever speaks it, such as Groq, speaches, LocalAI and vLLM."""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from msgspec.structs import force_setattr

from schemas.options import Request
from v2t_stream.engines.descriptor import Abilities, Withdrawal
from v2t_stream.transcription.provider import Http, ServiceDescriptor
from v2t_stream.transcription.remote.answer import HeardSegment, HeardWord, convert, transcription
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.result import Transcription

if TYPE_CHECKING:  # urllib3 takes a while to import
    from v2t_stream.transcription.remote.http import Caller

_NEW: Final = "gpt-transcribe"  # and its dated versions; its fields have other names than earlier models'
_ELSEWHERE: Final = "whisper-1"  # a name that other servers give the model they have


class OpenAI(Http, frozen=True, kw_only=True):
    """The settings of a provider of this type."""

    KEY: ClassVar[str] = "OPENAI_API_KEY"
    HOST: ClassVar[str] = "api.openai.com"

    type: Literal["openai"]
    model: str = ""  # empty: what the server has
    base_url: str = "https://api.openai.com/v1"
    prompt: str = ""  # words and names it should expect
    # The form field for a job's hotwords, if the server has one; otherwise they go to the end of the prompt.
    hotwords_field: str = ""

    def __post_init__(self) -> None:
        if not self.model:
            force_setattr(self, "model", _NEW if self.is_own_host else _ELSEWHERE)


def hear(provider: OpenAI, caller: "Caller", audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    path = "translations" if request.task == "translate" else "transcriptions"
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [
        *_fields(provider, request),
        ("file", ("chunk.flac", audio, "audio/flac")),
    ]
    headers = {"Authorization": f"Bearer {provider.key}"} if provider.key else {}
    url = f"{provider.base_url.rstrip('/')}/audio/{path}"
    said = caller.post(url, fields, headers, provider.key, model=request.model)
    answer = convert(said, dict, provider.name)
    return transcription(
        convert(answer.get("segments") or [], list[HeardSegment], provider.name),
        convert(answer.get("words") or [], list[HeardWord], provider.name),
        text=convert(answer.get("text") or "", str, provider.name),
        language=_language(answer, provider.name),
        seconds=seconds,
        request=request,
    )


def _fields(provider: OpenAI, request: Request) -> Iterator[tuple[str, str]]:
    """The form, without the audio."""
    yield "model", request.model
    yield "response_format", "verbose_json" if _is_timed(request.model) else "json"
    # A translation takes neither of these: its source language is always detected, and its times are by the segment.
    if request.task == "transcribe":
        if request.language:
            yield "languages[]" if _is_new(request.model) else "language", request.language
        if _is_timed(request.model):
            yield "timestamp_granularities[]", "segment"
            if request.word_timestamps:
                yield "timestamp_granularities[]", "word"
    yield from _hints(provider, request)


def _hints(provider: OpenAI, request: Request) -> Iterator[tuple[str, str]]:
    """The hints. Whisper forgets the beginning of a long prompt, so the job's own words come last."""
    known = SERVICE.able(request.model).hints
    hotwords = request.hotwords if "hotwords" in known else None
    texts = [provider.prompt, request.prompt]
    if hotwords and provider.hotwords_field:
        yield provider.hotwords_field, hotwords
    elif hotwords and _is_new(request.model):
        yield from (("keywords[]", word) for word in _keywords(hotwords))
    else:
        texts.append(hotwords)
    prompt = " ".join(text.strip() for text in texts if text and text.strip())
    if prompt and "prompt" in known:
        yield "prompt", prompt
    if temperature := hints(request).get("temperature"):
        yield "temperature", temperature


def _keywords(hotwords: str) -> list[str]:
    """Each of a job's hotwords, without angle brackets and line ends: the service refuses the whole call for these."""
    words = (" ".join(word.replace("<", " ").replace(">", " ").split()) for word in hotwords.split(","))
    return list(dict.fromkeys(filter(None, words)))


def _language(answer: dict[str, Any], name: str) -> str:
    """The language that was detected. gpt-transcribe lists several; the first is the main one."""
    first = next(iter(convert(answer.get("languages") or [], list[Any], name)), "")
    code: str = convert(answer.get("language") or (first.get("code") if isinstance(first, dict) else first), str, name)
    return code


def _is_new(model: str) -> bool:
    return model.rpartition("/")[2].startswith(_NEW)


def _is_timed(model: str) -> bool:
    return SERVICE.able(model).word_times


# From OpenAI's API reference of the transcriptions, its guide to moving from Whisper to gpt-transcribe, and its page of
# deprecations, as of November 2026. The gpt models answer with text alone and do not translate.
_TEXT: Final = Abilities(translates=False, word_times=False)
_DAY: Final = date(2027, 2, 26)

SERVICE: Final = ServiceDescriptor(
    settings=OpenAI,
    hear=hear,
    abilities=Abilities(hints=frozenset({"prompt", "hotwords", "temperature"})),
    exceptions={
        "gpt-*-diarize*": Abilities(translates=False, word_times=False, hints=frozenset({"temperature"})),
        "gpt-*": _TEXT,
        # Groq's names.
        "whisper-large-v3-turbo": Abilities(translates=False),
        "distil-whisper-*-en": Abilities(translates=False, languages=frozenset({"en"})),
    },
    withdrawn={
        model: Withdrawal(_DAY, _NEW)
        for model in (
            "whisper-1",
            "gpt-4o-transcribe",
            "gpt-4o-mini-transcribe",
            "gpt-4o-mini-transcribe-2025-12-15",
            "gpt-4o-transcribe-diarize",
        )
    },
)
