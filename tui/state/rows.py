"""The rows of the table of jobs: what each shows, their order, and which match."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple, get_args

from v2t_stream.jobs.progress import Shares, describe, shares, shortfalls
from v2t_stream.jobs.state import Job, State

Tab = Literal["all", "queued", "running", "completed", "failed", "cancelled"]
TABS: Final[tuple[Tab, ...]] = get_args(Tab)

_STATES: Final[tuple[State, ...]] = get_args(State)


class Row(NamedTuple):
    """One job as the table shows it; for a list, the sum of its entries."""

    id: str
    state: State
    title: str
    source: str
    language: str
    duration: float | None  # seconds
    shares: Shares
    done: int  # chunks, or entries of a list
    cut: int  # how many there are, as far as is known
    growing: bool  # whether there may be more
    missing: int  # of those done: gaps, or entries that failed
    falls_short: bool  # it, or one of its entries, completed with words missing
    speed: float | None  # times real time
    eta: float | None  # seconds
    started_at: float | None  # Unix seconds
    ended_at: float | None
    length: int  # entries of a list; 0 for other jobs
    haystack: str  # what a search looks in, in lower case
    tab: Tab


def row(job: Job) -> Row:
    """The same whether or not the job was watched from its start: chunks count only until it is completed."""
    language = (job.completed.language if job.completed else job.language and job.language.language) or ""
    language = language or job.options.language or ""
    length = job.listed.children if job.listed else 0
    done, cut, missing, growing, speed = len(job.chunks), job.chunks_cut, 0, not job.converted, job.speed
    if job.listed:
        share, _ = describe(job)
        how_far = Shares(share, share, share)
        done, cut, growing = round(share * length), length, False
        missing = job.counts["failed"]
    else:
        how_far = shares(job)
        if job.completed:
            done, missing, growing = cut, job.completed.gaps, False
            speed = _speed(job)
        else:
            missing = sum(bool(chunk.error) for chunk in job.chunks.values())
    return Row(
        job.id,
        job.state,
        job.title,
        job.source,
        language,
        job.duration,
        how_far,
        done,
        cut,
        growing,
        missing,
        any(map(shortfalls, job.parts)),
        speed,
        job.eta,
        job.started_at,
        job.ended_at,
        length,
        f"{job.id} {job.state} {job.title} {job.source} {language}".lower(),
        _tab(job.state),
    )


def _tab(state: State) -> Tab:
    match state:
        case "queued" | "completed" | "failed" | "cancelled":
            return state
    return "running"


def _speed(job: Job) -> float | None:
    """The speed of a completed job, from the end of its download to its transcript."""
    begun = job.downloaded_at
    if begun is None or not job.ended_at or not job.duration or job.ended_at <= begun:
        return None
    return job.duration / (job.ended_at - begun)


_ORDER: Final[dict[str, Callable[[Row], Any]]] = {
    "state": lambda row: _STATES.index(row.state),
    "title": lambda row: row.title.lower(),
    "source": lambda row: row.source.lower(),
    "lang": lambda row: row.language,
    "length": lambda row: row.duration or 0.0,
    "progress": lambda row: sum(row.shares),
    "chunks": lambda row: row.cut,
    "speed": lambda row: row.speed or 0.0,
    "eta": lambda row: row.eta or 0.0,
    "age": lambda row: -(row.started_at or 0.0),
}
ORDERS: Final = tuple(_ORDER)


def ordered(rows: Iterable[Row], by: str, *, descending: bool) -> list[Row]:
    """Sorted by one of ORDERS; among equals the latest first."""
    latest = sorted(rows, key=lambda row: row.started_at or 0.0, reverse=True)
    if by == "age":
        return latest[::-1] if descending else latest
    return sorted(latest, key=_ORDER[by], reverse=descending)


def wanted(rows: Iterable[Row], tab: Tab, text: str) -> list[Row]:
    """The rows of a tab that contain every word of `text`."""
    words = text.lower().split()
    if tab == "all" and not words:
        return list(rows)
    return [row for row in rows if tab in ("all", row.tab) and all(word in row.haystack for word in words)]
