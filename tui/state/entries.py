"""A job's text as the monitor shows it: the words, and in their place what is missing, doubtful or still to come."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, Literal, NamedTuple

from schemas.events import ChunkDone
from schemas.transcript import Doubt, Segment, Word
from tui.state.speakers import NOTHING, Said
from tui.state.timeline import Kind, Stretch
from v2t_stream.jobs.formats import UNHEARD, end_of
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line
from v2t_stream.units import clock

_SOMEBODY: Final = "?"  # who speaks, where that is not known, or not yet


class Entry(NamedTuple):
    """What the cursor can stand on: a segment, something missing or doubtful, or chunks still to come."""

    chunk: int
    place: int  # among the entries of its chunk that start at the same time
    start: float
    end: float
    text: str
    kind: Kind | Literal["said", "doubtful", "doubt", "unheard", "end"]  # a doubt is about the words next to it
    node: str = ""
    doubts: tuple[tuple[int, int], ...] = ()  # where in the text the doubtful words are
    speaker: str = ""  # the name of whoever says it; empty if nobody asked
    named: int = 0  # letters of that name, if the text begins with it because somebody else spoke before

    @property
    def is_said(self) -> bool:
        return self.kind in ("said", "doubtful")

    @property
    def key(self) -> tuple[int, float, int]:
        """Its place, by which entries are in order; it stays when other entries of its chunk are split or joined."""
        return self.chunk, self.start, self.place

    @property
    def is_missing(self) -> bool:
        """Whether words are missing here that a retry may bring."""
        return self.kind in ("gap", "unheard")


def nearest(entries: Sequence[Entry], wanted: Entry) -> int:
    """Which of the entries is at the place of one that was there before: the same, or the one around it."""
    at = max(0, bisect_right(entries, wanted.key, key=lambda entry: entry.key) - 1)
    following = entries[at + 1 : at + 2]
    # The words of a chunk may begin after the place where it was expected.
    is_late = bool(following) and entries[at].chunk < wanted.chunk == following[0].chunk
    return at + is_late


class _Known(NamedTuple):
    """All that the entries of a chunk depend on."""

    chunk: ChunkDone
    segments: tuple[Segment, ...]  # of the chunk, with their speakers if those are known
    names: Mapping[str, str]  # of the speakers, by label; empty if nobody asked who speaks
    last: str  # who spoke before; empty if that cannot be known, because words are missing


class Words:
    """Makes the entries of a job, those of each chunk once."""

    def __init__(self) -> None:
        self._of_chunk: dict[int, tuple[_Known, list[Entry]]] = {}

    def entries(
        self, job: Job, found: list[Stretch], said: Said = NOTHING, names: Mapping[str, str] | None = None
    ) -> list[Entry]:
        """The job's text as far as it goes, with what is missing in its place.

        `names`: of the speakers in what was `said`, by label.
        """
        entries: list[Entry] = []
        chunks = job.chunks
        last = _SOMEBODY
        for stretch in found:
            chunk = chunks.get(stretch.first)
            if chunk is None:
                text = _pending(stretch)
                entries.append(Entry(stretch.first, 0, stretch.start, stretch.end, text, stretch.kind, stretch.node))
                last = ""
                continue
            known = _Known(chunk, said.of(chunk), names or {}, last)
            made = self._of_chunk.get(chunk.n)
            if made is None or made[0] != known:
                made = self._of_chunk[chunk.n] = known, list(_entries(known))
            entries += made[1]
            last = _last(made[1], last)
        if job.truncated:
            end = job.truncated.decoded
            entries.append(Entry(job.chunks_cut, 0, end, end, end_of(job.truncated), "end"))
        return entries


def _entries(known: _Known) -> Iterator[Entry]:
    by_start = sorted(_found(known), key=lambda entry: entry.start)  # stable: a doubt stays before its words
    for _, together in groupby(_introduced(by_start, known.last), lambda entry: entry.start):
        for place, entry in enumerate(together):
            yield entry._replace(place=place)


def _found(known: _Known) -> Iterator[Entry]:
    """Everything there is to show of a chunk."""
    chunk = known.chunk
    if chunk.error:
        text = f"chunk {chunk.n} is missing, to {clock(chunk.end)}: {one_line(chunk.error)}"
        yield Entry(chunk.n, 0, chunk.start, chunk.end, text, "gap", chunk.node)
    for speech in chunk.unheard:
        text = f"{UNHEARD}, to {clock(speech.end)}"
        yield Entry(chunk.n, 0, speech.start, speech.end, text, "unheard", chunk.node)
    for doubt in chunk.doubtful:
        text = f"possibly never said, to {clock(doubt.end)}: {one_line(doubt.reason)}"
        yield Entry(chunk.n, 0, doubt.start, doubt.end, text, "doubt", chunk.node)
    for segment in known.segments:
        text = one_line(segment.text, 10_000)
        doubts = tuple(_doubted(segment, text, chunk.doubtful))
        kind: Literal["doubtful", "said"] = "doubtful" if doubts else "said"
        speaker = known.names.get(segment.speaker, _SOMEBODY) if known.names else ""
        yield Entry(chunk.n, 0, segment.start, segment.end, text, kind, chunk.node, doubts, speaker)


def _introduced(entries: Iterable[Entry], last: str) -> Iterator[Entry]:
    """The entries, with the name before the text where another one speaks than the `last`."""
    for entry in entries:
        if entry.speaker and entry.speaker != last:
            name = f"{entry.speaker}: "
            doubts = tuple((first + len(name), end + len(name)) for first, end in entry.doubts)
            yield entry._replace(text=name + entry.text, doubts=doubts, named=len(name))
        else:
            yield entry
        last = _last([entry], last)


def _last(entries: Sequence[Entry], before: str) -> str:
    """Who spoke last, after whoever spoke `before`."""
    for entry in reversed(entries):
        if entry.is_missing:
            return ""
        if entry.speaker:
            return entry.speaker
    return before


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
