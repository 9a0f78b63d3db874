"""ElevenLabs' speech to text (Scribe). It returns words; we make segments of them."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import msgspec

from schemas.options import Request
from v2t_stream.engines.descriptor import Abilities
from v2t_stream.transcription.provider import Http, ServiceDescriptor
from v2t_stream.transcription.remote.answer import HeardSegment, HeardWord, convert, transcription
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.result import Transcription

if TYPE_CHECKING:  # urllib3 takes a while to import
    from v2t_stream.transcription.remote.http import Caller

# What the service takes (elevenlabs-python, speech_to_text.convert). It refuses a request that has more.
_MOST_TERMS = 100
_LONGEST_TERM = 49  # characters
_MOST_WORDS = 5  # of one term

_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟")  # noqa: RUF001  of sentences, in many scripts
_PAUSE = 1.0  # seconds of silence that also end a segment
_LONGEST = 10.0  # seconds after which a segment ends at the next word


class ElevenLabs(Http, frozen=True, kw_only=True):
    """The settings of a provider of this type."""

    KEY: ClassVar[str] = "ELEVENLABS_API_KEY"
    HOST: ClassVar[str] = "api.elevenlabs.io"

    type: Literal["elevenlabs"]
    model: str = "scribe_v2"
    base_url: str = "https://api.elevenlabs.io"


class _Token(msgspec.Struct):
    """A word, a space between words, or a sound."""

    text: str
    type: str = "word"
    start: float | None = None
    end: float | None = None
    logprob: float | None = None


def left_out(_: ElevenLabs, request: Request) -> set[str]:
    """The hotwords that are too long or too many."""
    if _fitting(request) == _terms(request):
        return set()
    return {f"hotwords of more than {_MOST_WORDS} words or {_LONGEST_TERM} characters, nor more than {_MOST_TERMS}"}


def hear(provider: ElevenLabs, caller: "Caller", audio: bytes, seconds: float, request: Request) -> Transcription:
    """Blocking. Raises Reject, Retry or Unusable."""
    fields: list[tuple[str, str | tuple[str, bytes, str]]] = [
        ("model_id", request.model),
        ("timestamps_granularity", "word"),
        ("tag_audio_events", "false"),
        ("diarize", "false"),
    ]
    if request.language:
        fields.append(("language_code", request.language))
    if temperature := hints(request).get("temperature"):
        fields.append(("temperature", temperature))
    fields += [("keyterms", term) for term in _fitting(request)]
    fields.append(("file", ("chunk.flac", audio, "audio/flac")))
    url = f"{provider.base_url.rstrip('/')}/v1/speech-to-text"
    headers = {"xi-api-key": provider.key} if provider.key else {}
    said = caller.post(url, fields, headers, provider.key, model=request.model)
    answer = convert(said, dict, provider.name)
    tokens = convert(answer.get("words") or [], list[_Token], provider.name)
    return transcription(
        list(_segments(tokens)),
        (),
        text=convert(answer.get("text") or "", str, provider.name),
        language=convert(answer.get("language_code") or "", str, provider.name),
        seconds=seconds,
        request=request,
    )


def _terms(request: Request) -> list[str]:
    terms = (" ".join(term.split()) for term in (request.hotwords or "").split(","))
    return list(dict.fromkeys(filter(None, terms)))


def _fitting(request: Request) -> list[str]:
    """The job's hotwords that the service accepts: it refuses the whole call if one is too long."""
    terms = _terms(request)
    return [term for term in terms if len(term) <= _LONGEST_TERM and len(term.split()) <= _MOST_WORDS][:_MOST_TERMS]


def _segments(tokens: Iterable[_Token]) -> Iterator[HeardSegment]:
    """Sentences. Spaces are tokens of their own, so languages without spaces come out right."""
    text, words = "", list[HeardWord]()
    for token in tokens:
        if token.type not in ("word", "spacing"):
            continue
        if token.type == "word" and token.start is not None and token.end is not None:
            if words and (
                text.rstrip().endswith(_ENDS)
                or token.start - words[-1].end > _PAUSE
                or words[-1].end - words[0].start > _LONGEST
            ):
                yield HeardSegment(text=text, start=words[0].start, end=words[-1].end, words=words)
                text, words = "", []
            sure = None if token.logprob is None else min(1.0, math.exp(min(0.0, token.logprob)))
            words.append(HeardWord(word=token.text, start=token.start, end=token.end, probability=sure))
        text += token.text
    if words:
        yield HeardSegment(text=text, start=words[0].start, end=words[-1].end, words=words)


# It has no field for a prompt or a beam, and it does not translate.
SERVICE: Final = ServiceDescriptor(
    settings=ElevenLabs,
    hear=hear,
    left_out=left_out,
    abilities=Abilities(translates=False, hints=frozenset({"hotwords", "temperature"})),
)
