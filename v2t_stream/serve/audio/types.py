"""The types of what OpenAI's audio API gives, for the description of the API."""

from typing import Any, NotRequired, TypedDict

from schemas.transcript import Doubt, Gap, Truncated, Unheard


class About(TypedDict):
    """What OpenAI's objects have no place for."""

    job: str
    complete: bool
    caveats: list[str]
    gaps: list[Gap]
    unheard: list[Unheard]
    doubtful: list[Doubt]
    truncated: Truncated | None
    models: list[str]
    not_measured: NotRequired[list[str]]


class Transcription(TypedDict):
    """`json`; the other formats in JSON have more: see OpenAI's reference."""

    text: str
    x_v2t: About
    languages: NotRequired[list[dict[str, str]]]
    usage: NotRequired[dict[str, Any]]
    task: NotRequired[str]
    language: NotRequired[str]
    duration: NotRequired[float]
    segments: NotRequired[list[dict[str, Any]]]
    words: NotRequired[list[dict[str, Any]]]
