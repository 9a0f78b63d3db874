"""Where the chunks of a job lie in its media, and which node has each: pure functions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from v2t_stream.jobs.state import Job

Kind = Literal["done", "gap", "working", "waiting"]
Mark = Literal["unheard", "doubtful", "beyond"]  # what the audit found; beyond: the file declares more than it has


class Stretch(NamedTuple):
    """The place of one chunk, or of several in a row that wait."""

    first: int  # the chunk's number
    last: int
    start: float  # seconds of the media; for waiting chunks estimated from their neighbours
    end: float
    kind: Kind
    node: str = ""


class Found(NamedTuple):
    """What the audit found in a stretch of the media."""

    start: float
    end: float
    kind: Mark


def stretches(job: Job, working: Mapping[int, str]) -> list[Stretch]:
    """All known chunks in their order. `working`: the node of each chunk in progress."""
    found: list[Stretch] = []
    waiting: list[int] = []
    end = 0.0  # of the chunk before
    chunks = job.chunks
    for n in range(max([job.chunks_cut, *(n + 1 for n in chunks)])):
        chunk = chunks.get(n)
        if chunk is None:
            waiting.append(n)
            continue
        found += _spread(waiting, end, max(end, chunk.start), working)
        waiting.clear()
        kind: Kind = "gap" if chunk.error else "done"
        found.append(Stretch(n, n, chunk.start, chunk.end, kind, chunk.node))
        end = chunk.end
    found += _spread(waiting, end, max(end, job.decoded), working)
    return found


def _spread(waiting: list[int], start: float, end: float, working: Mapping[int, str]) -> Iterator[Stretch]:
    """The chunks between two that are done; as nobody knows yet where they lie, all get the same length."""
    if not waiting:
        return
    each = (end - start) / len(waiting)

    def place(index: int) -> float:
        return start + index * each

    first = 0
    for index, n in enumerate(waiting):
        if n in working:
            if first < index:
                yield Stretch(waiting[first], waiting[index - 1], place(first), place(index), "waiting")
            yield Stretch(n, n, place(index), place(index + 1), "working", working[n])
            first = index + 1
    if first < len(waiting):
        yield Stretch(waiting[first], waiting[-1], place(first), place(len(waiting)), "waiting")


def marks(job: Job) -> Iterator[Found]:
    """What the audit found, to be shown above the chunks."""
    for doubt in job.doubtful:
        yield Found(doubt.start, doubt.end, "doubtful")
    for speech in job.unheard:
        yield Found(speech.start, speech.end, "unheard")
    if job.truncated:
        yield Found(job.truncated.decoded, job.truncated.declared, "beyond")


def columns(found: Iterable[Stretch | Found], duration: float, width: int) -> list[Stretch | Found | None]:
    """What to show of the media in each of `width` columns; None for silence, and for what is not cut yet.

    If several share a column, it shows the worst, so that no gap is hidden.
    """
    order: tuple[Kind | Mark, ...] = ("done", "waiting", "working", "doubtful", "beyond", "unheard", "gap")
    shown: list[Stretch | Found | None] = [None] * width
    if duration <= 0:
        return shown
    for stretch in found:
        first = min(width - 1, int(stretch.start / duration * width))
        last = min(width - 1, max(first, int(stretch.end / duration * width - 1e-9)))
        for column in range(first, last + 1):
            before = shown[column]
            if before is None or order.index(stretch.kind) >= order.index(before.kind):
                shown[column] = stretch
    return shown
