"""A job's text as the monitor shows it: the words, and in their place what is missing, doubtful or still to come."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from schemas.events import ChunkDone
from schemas.transcript import Doubt, Segment, Word
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
    end: float
    text: str
    kind: Kind | Literal["said", "doubtful", "doubt", "unheard", "end"]  # a doubt is about the words next to it
    node: str = ""
    doubts: tuple[tuple[int, int], ...] = ()  # where in the text the doubtful words are

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
                entries.append(Entry(stretch.first, 0, stretch.start, stretch.end, text, stretch.kind, stretch.node))
                continue
            made = self._of_chunk.get(chunk.n)
            if made is None or made[0] is not chunk:
                made = self._of_chunk[chunk.n] = chunk, list(_entries(chunk))
            entries += made[1]
        if job.truncated:
            end = job.truncated.decoded
            entries.append(Entry(job.chunks_cut, 0, end, end, end_of(job.truncated), "end"))
        return entries


def _entries(chunk: ChunkDone) -> Iterator[Entry]:
    by_start = sorted(_found(chunk), key=lambda found: found.start)  # stable: a doubt stays before its words
    for place, entry in enumerate(by_start):
        yield entry._replace(place=place)


def _found(chunk: ChunkDone) -> Iterator[Entry]:
    """Everything there is to show of a chunk."""
    if chunk.error:
        text = f"chunk {chunk.n} is missing, to {clock(chunk.end)}: {one_line(chunk.error)}"
        yield Entry(chunk.n, 0, chunk.start, chunk.end, text, "gap", chunk.node)
    for speech in chunk.unheard:
        text = f"{UNHEARD}, to {clock(speech.end)}"
        yield Entry(chunk.n, 0, speech.start, speech.end, text, "unheard", chunk.node)
    for doubt in chunk.doubtful:
        text = f"possibly never said, to {clock(doubt.end)}: {one_line(doubt.reason)}"
        yield Entry(chunk.n, 0, doubt.start, doubt.end, text, "doubt", chunk.node)
    for segment in chunk.segments:
        text = one_line(segment.text, 10_000)
        doubts = tuple(_doubted(segment, text, chunk.doubtful))
        kind: Literal["doubtful", "said"] = "doubtful" if doubts else "said"
        yield Entry(chunk.n, 0, segment.start, segment.end, text, kind, chunk.node, doubts)


def _doubted(segment: Segment, text: str, doubts: Iterable[Doubt]) -> Iterator[tuple[int, int]]:
    """Where in `text` the doubtful words are: all of it, if the times of its words are not known."""
    doubts = [doubt for doubt in doubts if _overlap(doubt, segment)]
    if not doubts:
        return
    if not segment.words:
        yield 0, len(text)
        return
    at = 0
    for word in segment.words:
        said = one_line(word.text)
        begin = text.find(said, at)
        if not said or begin < 0:
            continue
        at = begin + len(said)
        if any(_overlap(doubt, word) for doubt in doubts):
            yield begin, at


def _overlap(doubt: Doubt, spoken: Segment | Word) -> bool:
    return doubt.start < spoken.end and spoken.start < doubt.end


def _pending(stretch: Stretch) -> str:
    if stretch.kind == "working":
        return f"chunk {stretch.first} is in progress on {one_line(stretch.node)} …"
    if stretch.first == stretch.last:
        return f"chunk {stretch.first} is waiting …"
    return f"chunks {stretch.first} to {stretch.last} are waiting …"
