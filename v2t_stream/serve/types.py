"""The types of what the API takes and gives, for its description; a test holds them to what it really gives."""

from typing import Annotated, Any, Final, NotRequired, TypedDict

import msgspec
from msgspec import Meta, defstruct, structs

from schemas.requests import SubmitRequest
from schemas.transcript import Doubt, Gap, Sound, Truncated, Unheard
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import State
from v2t_stream.subtitles.style import PLAIN, STYLES, Style


class Error(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(TypedDict):
    error: Error


JobRequest: Final = defstruct(
    "JobRequest",
    [
        (field.name, field.type, field.default)
        for field in structs.fields(SubmitRequest)
        if field.name != "owner"  # the server knows it
    ]
    + [("upload", Annotated[str, Meta(description="the id of an upload, also of one that still runs")] | None, None)],
    forbid_unknown_fields=True,
)


class Entry(TypedDict):
    """An entry of a list."""

    id: str
    state: State
    title: str
    reason: str


class JobSummary(TypedDict):
    """A job; times are in Unix seconds, durations in seconds."""

    id: str
    state: State
    title: str
    source: str
    reason: str  # why it failed
    done_before_as: str
    parent: str | None
    entries: dict[str, int] | None
    language: str | None
    duration: float | None
    decoded: float
    chunks_cut: int
    started_at: float | None
    ended_at: float | None
    # What only one job tells:
    children: NotRequired[list[Entry]]
    chunks_done: NotRequired[int]
    speed: NotRequired[float | None]
    eta: NotRequired[float | None]
    gaps: NotRequired[list[Gap]]


class Speaking(TypedDict):
    label: str
    name: str
    seconds: float


class Speakers(TypedDict):
    data: list[Speaking]


class SessionOf(TypedDict):
    needed: bool  # whether keys are
    id: str
    name: str
    role: str


class CorrectedBy(TypedDict):
    by: str
    at: float | None


class JobStatus(JobSummary):
    """Everything about a job."""

    options: dict[str, Any]
    jobs_ahead: int | None
    warning: str
    caveats: list[str]
    unread: list[str]
    speakers: list[Speaking]
    corrected: NotRequired[CorrectedBy]
    unheard: list[Unheard]
    doubtful: list[Doubt]
    truncated: Truncated | None
    sound: Sound | None


class JobList(TypedDict):
    data: list[JobSummary]
    has_more: bool


class Place(TypedDict):
    """A segment in which something was found; times are in seconds."""

    job: str
    title: str
    n: int  # of the segment, from 0
    start: float
    end: float
    speaker: str  # the name, or else the label
    text: str
    marks: list[tuple[int, int]]  # what was found in the text: from and to, in Unicode characters


class Places(TypedDict):
    data: list[Place]
    complete: bool  # false: some transcripts cannot be searched yet


class Fleet(TypedDict):
    data: list[NodeInfo]


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to redo; by default what failed."""

    model: str | None = None
    chunk: int | None = None
    keep_correction: bool = False


_SHAPES: Final = {field.name: field.type for field in structs.fields(Style)}
SHAPING: Final[dict[str, Any]] = {
    "style": Annotated[str, Meta(description=f"of subtitles: {', '.join(STYLES)}; default: {PLAIN}")],
    "highlight_words": Annotated[bool, Meta(description="keep the time of each word, in vtt and ass")],
    **_SHAPES,
}
