"""A job's text as the monitor shows it: the words, and in their place what is missing, doubtful or still to come."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from schemas.events import ChunkDone
from tui.state.timeline import Kind, Stretch
from v2t_stream.jobs.formats import UNHEARD, end_of
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line
from v2t_stream.units import clock


class Entry(NamedTuple):
    """What the cursor can stand on: a segment, something missing or doubtful, or chunks still to come."""

    chunk: int
    place: int  # among the entries of its chunk
    start: float
    text: str
    kind: Kind | Literal["said", "doubtful", "doubt", "unheard", "end"]  # a doubt is about the words next to it
    node: str = ""

    @property
    def is_said(self) -> bool:
        return self.kind in ("said", "doubtful")

    @property
    def is_missing(self) -> bool:
        """Whether words are missing here that a retry may bring."""
        return self.kind in ("gap", "unheard")


class Words:
    """Makes the entries of a job, those of each chunk once."""

    def __init__(self) -> None:
        self._of_chunk: dict[int, tuple[ChunkDone, list[Entry]]] = {}

    def entries(self, job: Job, found: list[Stretch]) -> list[Entry]:
        """The job's text as far as it goes, with what is missing in its place."""
        entries: list[Entry] = []
        chunks = job.chunks
        for stretch in found:
            chunk = chunks.get(stretch.first)
            if chunk is None:
                text = _pending(stretch)
                entries.append(Entry(stretch.first, 0, stretch.start, text, stretch.kind, stretch.node))
                continue
            made = self._of_chunk.get(chunk.n)
            if made is None or made[0] is not chunk:
                made = self._of_chunk[chunk.n] = chunk, list(_entries(chunk))
            entries += made[1]
        if job.truncated:
            entries.append(Entry(job.chunks_cut, 0, job.truncated.decoded, end_of(job.truncated), "end"))
        return entries


def _entries(chunk: ChunkDone) -> Iterator[Entry]:
    by_start = sorted(_found(chunk), key=lambda found: found[0])  # stable: a doubt stays before its words
    for place, (start, text, kind) in enumerate(by_start):
        yield Entry(chunk.n, place, start, text, kind, chunk.node)


def _found(chunk: ChunkDone) -> Iterator[tuple[float, str, Literal["gap", "unheard", "doubt", "doubtful", "said"]]]:
    """Start, text and kind of everything there is to show of a chunk."""
    if chunk.error:
        text = f"chunk {chunk.n} is missing, to {clock(chunk.end)}: {one_line(chunk.error)}"
        yield chunk.start, text, "gap"
    for speech in chunk.unheard:
        yield speech.start, f"{UNHEARD}, to {clock(speech.end)}", "unheard"
    for doubt in chunk.doubtful:
        yield doubt.start, f"possibly never said, to {clock(doubt.end)}: {one_line(doubt.reason)}", "doubt"
    for segment in chunk.segments:
        is_doubtful = any(doubt.start < segment.end and segment.start < doubt.end for doubt in chunk.doubtful)
        yield segment.start, one_line(segment.text, 10_000), "doubtful" if is_doubtful else "said"


def _pending(stretch: Stretch) -> str:
    if stretch.kind == "working":
        return f"chunk {stretch.first} is in progress on {one_line(stretch.node)} …"
    if stretch.first == stretch.last:
        return f"chunk {stretch.first} is waiting …"
    return f"chunks {stretch.first} to {stretch.last} are waiting …"
