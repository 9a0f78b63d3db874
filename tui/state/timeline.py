"""Where the chunks of a job lie in its media, and which node has each: pure functions."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from v2t_stream.jobs.state import Job

Kind = Literal["done", "gap", "working", "waiting"]


class Stretch(NamedTuple):
    """The place of one chunk, or of several in a row that wait."""

    first: int  # the chunk's number
    last: int
    start: float  # seconds of the media; for waiting chunks estimated from their neighbours
    end: float
    kind: Kind
    node: str = ""


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


def columns(found: list[Stretch], duration: float, width: int) -> list[Stretch | None]:
    """What to show of the media in each of `width` columns; None for silence, and for what is not cut yet.

    If several chunks share a column, it shows the worst, so that no gap is hidden.
    """
    order: tuple[Kind, ...] = ("done", "waiting", "working", "gap")
    shown: list[Stretch | None] = [None] * width
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
