"""Who speaks in a job, also while it runs: matched again now and then as more of it is known."""

import functools
import importlib
import threading
import time
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final, NamedTuple

from schemas.events import ChunkDone
from schemas.transcript import Segment, Speaker
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs.formats import names_of, spoken
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line

_LONGEST: Final = 60  # letters of a name
_TURN: Final = threading.Lock()  # one matches at a time, however often a screen is opened and left
_SHARE: Final = 20  # of the time, matching takes at most one part in so many


class Said(NamedTuple):
    """Who said what, in the chunks that were matched."""

    wanted: str  # the option `speakers` of the job
    chunks: Mapping[int, ChunkDone]
    segments: Mapping[int, tuple[Segment, ...]]  # by chunk; one is split where somebody else goes on
    people: tuple[Speaker, ...]  # without names
    seconds: Mapping[str, float]  # by label

    def of(self, chunk: ChunkDone) -> tuple[Segment, ...]:
        """The segments of a chunk, without speakers if its voices are not matched yet."""
        return self.segments[chunk.n] if self.chunks.get(chunk.n) is chunk else chunk.segments


NOTHING: Final = Said("", {}, {}, (), {})


class Speakers:
    """Matches voices in a thread, because that takes seconds for ten hours."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: in seconds, from any start."""
        self.said = NOTHING
        self._clock = clock
        self._is_matching = False
        self._due_at = 0.0
        self._named: tuple[tuple[Speaker, ...], tuple[Speaker, ...]] = (), ()  # whom `_names` are of, and who was known
        self._names: dict[str, str] = {}

    def is_due(self, job: Job) -> bool:
        """Whether the job asks who speaks, and it is time to find out anew; at its end, which comes once, at once."""
        wanted = job.options.speakers
        if not wanted or self._is_matching or (self._clock() < self._due_at and not job.ended):
            return False
        return (self.said.wanted, self.said.chunks) != (wanted, job.chunks)

    async def match(self, job: Job) -> None:
        """Match the voices of the job as it is now, if that is due. A caller that is cancelled waits for no thread."""
        if not self.is_due(job):
            return
        self._is_matching = True
        is_left = threading.Event()
        try:
            await in_thread(_load)
            begun = self._clock()
            chunks = dict(job.chunks)  # which goes on growing
            self.said = await in_thread(functools.partial(_said, chunks, job.options.speakers or "", is_left))
            ended = self._clock()
            self._due_at = ended + _SHARE * (ended - begun)
        finally:
            self._is_matching = False
            is_left.set()

    def names(self, known: tuple[Speaker, ...]) -> dict[str, str]:
        """The names by label. `known`: the people whom somebody has named, who are found by their voices."""
        if self._named != (self.said.people, known):
            self._named = self.said.people, known
            found = names_of(_recognised(self.said.people, known))
            self._names = {label: one_line(name, _LONGEST) for label, name in found.items()}
        return self._names


def _load() -> None:
    """Import numpy with all that needs it, which only jobs that ask pay for."""
    importlib.import_module("v2t_stream.speakers.labels")


def _said(chunks: Mapping[int, ChunkDone], wanted: str, is_left: threading.Event) -> Said:
    """`is_left`: nobody waits for it any more."""
    from v2t_stream.speakers.labels import labelled_by_chunk  # noqa: PLC0415  as _load says

    ordered = [chunk for _, chunk in sorted(chunks.items())]
    windows = [window for chunk in ordered for window in chunk.windows]
    with _TURN:
        if is_left.is_set():
            return NOTHING
        said, people = labelled_by_chunk([chunk.segments for chunk in ordered], windows, wanted)
    segments = {chunk.n: mine for chunk, mine in zip(ordered, said, strict=True)}
    return Said(wanted, chunks, segments, people, spoken(chain.from_iterable(said), people))


def _recognised(people: tuple[Speaker, ...], known: tuple[Speaker, ...]) -> tuple[Speaker, ...]:
    if not people or not known:
        return people
    from v2t_stream.speakers.naming import named  # noqa: PLC0415  as above

    return named(people, known)
