"""The state of a job: a fold over its facts, the same for the command line, the monitor and the aggregator."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.events import Downloaded, Rerun, Submitted
from schemas.options import Options
from schemas.transcript import Doubt, Gap, Segment, Sound, Truncated, Unheard
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.facts import Facts
from v2t_stream.text import without_secrets
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.subjects import ends, fact_of, job_of

State = Literal["queued", "downloading", "listed", "converting", "transcribing", "completed", "failed", "cancelled"]

ENDED: Final[tuple[State, ...]] = ("failed", "completed", "cancelled")  # the end of a list, the strongest first

# The state of a job that has such a fact, the strongest first: once a job has ended, late facts change nothing.
_STATES: Final[dict[str, State]] = {
    "cancelled": "cancelled",
    "completed": "completed",
    "failed": "failed",
    "listed": "listed",
    "converted": "transcribing",
    "chunk": "transcribing",
    "downloaded": "converting",
    "progress.download": "downloading",
}


def state_of(has: Callable[[str], bool]) -> State:
    """The state of a job by the names of its facts: `has` says whether there is one, such as `converted`."""
    return next((state for name, state in _STATES.items() if has(name)), "queued")


def state_of_list(entries: Collection[State]) -> State:
    """The state of a list by the states of its entries.

    It ends when all have ended: failed if one of them failed, otherwise completed if one of them completed.
    """
    if not all(state in ENDED for state in entries):
        return "listed"
    return next((end for end in ENDED if end in entries), "cancelled")


@dataclass
class Job(Facts):
    """The state of one job, derived from its facts."""

    # The state at a time, because that of a list depends on thousands of entries.
    _known: tuple[tuple[int, int, int], State] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def retries(self) -> int:
        """How many times it was retried."""
        return max(self.retried, default=0) + self.run

    @property
    def state(self) -> State:
        """By the names of its facts, as workers see it, including facts that cannot be read."""
        at = (self.changes, self.run, len(self.children))
        if self._known is None or self._known[0] != at:
            self._known = at, self._derived()
        return self._known[1]

    def _derived(self) -> State:
        state = state_of(self._has)
        if state != "listed" or not self.listed or len(self.children) < self.listed.children:
            return state
        return state_of_list([child.state for child in self.children.values()])

    def _has(self, name: str) -> bool:
        match name:
            case "chunk":
                return bool(self.chunks)
            case "progress.download":
                return "download" in self.progress
            case "downloaded" if self.downloaded:
                return True
        return fact_of(name, self.id, self.run) in self.sequences

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def counts(self) -> "Counter[State]":
        """How many of a list's entries are in each state."""
        return Counter(child.state for child in self.children.values())

    @property
    def parts(self) -> "list[Job]":
        """The jobs that have transcripts: a list's entries in order, or the job itself."""
        return [child for _, child in sorted(self.children.items())] if self.listed else [self]

    @property
    def removed(self) -> bool:
        """Whether the user removed it; what is left only keeps it from coming back."""
        return bool(self.cancelled and self.cancelled.removed)

    @property
    def title(self) -> str:
        if self.listed:
            return self.listed.title
        if self.completed and self.completed.title:
            return self.completed.title
        if self.downloaded:
            return self.downloaded.title
        return self.submitted.title if self.submitted else ""

    @property
    def source(self) -> str:
        """The URL or the file name."""
        if self.downloaded:
            return self.downloaded.source
        return (without_secrets(self.submitted.url or "") or self.submitted.title) if self.submitted else ""

    @property
    def options(self) -> Options:
        """The current options: a retry with another model changes them."""
        found = self.downloaded or self.begun
        return found.options if found else Options()

    @property
    def reason(self) -> str:
        """Why it failed, in a sentence; empty if it did not."""
        if self.state != "failed":
            return ""
        if self.failed:
            return self.failed.reason
        reasons = [child.reason for child in self.children.values() if child.reason]
        if not reasons:
            return "this release cannot read the reason: a newer one may"
        return f"{len(reasons)} of {len(self.children)} entries failed, the first because {reasons[0]}"

    @property
    def moved(self) -> str:
        """The job that replaces this one; empty if none does."""
        return self.failed.moved if self.failed and self.state == "failed" else ""

    @property
    def transcript(self) -> str:
        """The prefix of the transcript that counts, corrected if somebody corrected it; empty until there is one."""
        if not self.completed:
            return ""
        return self.corrected.transcript if self.corrected else self.completed.transcript

    @property
    def duration(self) -> float | None:
        """Seconds of media, as far as known: decoded, or declared by the file."""
        if self.converted:
            return self.converted.duration
        if self.completed and self.completed.duration is not None:  # done before, by another job
            return self.completed.duration
        converting = self.progress.get("convert")
        return converting.total if converting else None

    @property
    def decoded(self) -> float:
        """Seconds of media decoded so far."""
        if self.converted:
            return self.converted.duration
        converting = self.progress.get("convert")
        return converting.done if converting else 0.0

    @property
    def chunks_cut(self) -> int:
        """Chunks known to exist so far."""
        if self.converted:
            return self.converted.chunks
        converting = self.progress.get("convert")
        return max(converting.chunks if converting else 0, len(self.chunks))

    @property
    def is_whole(self) -> bool:
        """Whether every chunk that the job will ever have has its result."""
        if self.converted is None or len(self.chunks) < self.converted.chunks:
            return False
        return all(n in self.chunks for n in range(self.converted.chunks))  # an extra one replaces none

    @property
    def gaps(self) -> list[Gap]:
        return [
            Gap(chunk=chunk.n, start=chunk.start, end=chunk.end, reason=chunk.error)
            for _, chunk in sorted(self.chunks.items())
            if chunk.error
        ]

    @property
    def unheard(self) -> list[Unheard]:
        """Speech without words, by time."""
        found = [stretch for chunk in self.chunks.values() for stretch in chunk.unheard]
        return sorted(found, key=lambda stretch: (stretch.start, stretch.end))

    @property
    def doubtful(self) -> list[Doubt]:
        """Words that may never have been said, by time."""
        found = [doubt for chunk in self.chunks.values() for doubt in chunk.doubtful]
        return sorted(found, key=lambda doubt: (doubt.start, doubt.end))

    @property
    def truncated(self) -> Truncated | None:
        """How much of the media exists, if it ends before its declared length."""
        return self.converted.truncated if self.converted else None

    @property
    def sound(self) -> Sound | None:
        """What there was to hear; None until all of it is decoded."""
        return self.converted.sound if self.converted else None

    @property
    def started_at(self) -> float | None:
        """Unix seconds by the server's clock, as all times here."""
        return self.times.get(Submitted.subject_of(job=self.id))

    @property
    def rerun_at(self) -> float | None:
        """When a retry began the current run."""
        return self.times.get(Rerun.subject_of(job=self.id, run=self.run))

    @property
    def downloaded_at(self) -> float | None:
        """When the media was available to this run."""
        return self.times.get(Downloaded.subject_of(job=self.id, run=self.run)) or (
            self.rerun_at if self.downloaded else None
        )

    @property
    def ended_at(self) -> float | None:
        times = [self.times[end] for end in ends(self.id, self.run) if end in self.times]
        if self.listed and not times and self.ended:
            times = [max(child.ended_at or 0.0 for child in self.children.values())]
        return times[0] if times else None

    @property
    def took(self) -> float | None:
        """Seconds from its submission, or from its latest retry, to its end."""
        begun = self.rerun_at or self.started_at
        return max(0.0, self.ended_at - begun) if begun and self.ended_at else None

    @property
    def transcribed(self) -> float:
        """Seconds of media that the finished chunks cover, including silence between them."""
        if self.is_whole and self.converted:
            return self.converted.duration
        share = len(self.chunks) / self.chunks_cut if self.chunks_cut else 0.0
        return self.decoded * share

    @property
    def speed(self) -> float | None:
        """Seconds of media transcribed per second, from the end of the download to the latest result."""
        begun, heard_at = self.downloaded_at, self._current.heard_at
        if begun is None or heard_at <= begun:
            return None
        return self.transcribed / (heard_at - begun)

    @property
    def eta(self) -> float | None:
        """Seconds until all is transcribed, at this speed; None if that is not known."""
        if self.ended or not self.speed or not self.duration:
            return None
        return max(0.0, self.duration - self.transcribed) / self.speed

    def segments(self) -> Iterator[Segment]:
        """All segments so far, in the order of the media."""
        for _, chunk in sorted(self.chunks.items()):
            yield from chunk.segments


def fold(job: str, facts: Iterable[Stored]) -> Job:
    """The state of `job` after `facts`: its own and, if it is a list, those of its entries."""
    state = Job(job)
    for fact in facts:
        state.apply(fact)
    return state


def fold_all(facts: Iterable[Stored]) -> dict[str, Job]:
    """The state of every job in `facts`, by id; a list holds its entries."""
    states: dict[str, Job] = {}
    for fact in facts:
        job, _ = place_of(job_of(fact.subject))
        states.setdefault(job, Job(job)).apply(fact)
    return states
