"""The state of a job: a fold over its facts, the same for the command line, the monitor and the aggregator."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Downloaded,
    Failed,
    Language,
    Listed,
    Progress,
    Retried,
    Submitted,
)
from schemas.message import Message
from schemas.options import Options
from schemas.transcript import Doubt, Gap, Segment, Sound, Truncated, Unheard
from v2t_stream.jetstream import Stored
from v2t_stream.text import without_secrets
from v2t_stream.topology import decode, ends, job_of, place_of

State = Literal["queued", "downloading", "listed", "converting", "transcribing", "completed", "failed", "cancelled"]


@dataclass
class Job:
    """What is known of one job, and of the jobs of its entries where it is a list.

    `apply` takes facts in any order and any number of times: on each subject the fact with the highest
    sequence stands, which is the stream's own rule, and everything else here is derived from those.
    """

    id: str
    words: bool = True  # whether what was said is kept, which is most of it; who shows many jobs only counts chunks
    submitted: Submitted | None = None
    downloaded: Downloaded | None = None
    listed: Listed | None = None
    converted: Converted | None = None
    language: Language | None = None
    completed: Completed | None = None
    failed: Failed | None = None
    cancelled: Cancelled | None = None
    chunks: dict[int, ChunkDone] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)  # by subject, when the server stored the fact
    sequences: dict[str, int] = field(default_factory=dict)  # by subject
    retried: dict[int, tuple[int, Retried]] = field(default_factory=dict)  # by number, with the fact's sequence
    children: dict[int, "Job"] = field(default_factory=dict)  # by their place in the list, from 1
    _heard_at: float = 0.0  # when the latest result of a chunk was stored

    def apply(self, stored: Stored) -> None:
        """Take one fact; of one that cannot be read, or is not of its subject, only that it is there."""
        if (job := job_of(stored.subject)) != self.id:
            _, place = place_of(job)
            self.children.setdefault(place, Job(job, self.words)).apply(stored)
            return
        if self.sequences.get(stored.subject, -1) >= stored.sequence:
            return
        event = None
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            event = decode(stored.subject, stored.data)
        if event is not None and event.subject != stored.subject:
            event = None
        if self._is_void(event, stored.sequence):
            return
        match event:
            case Retried(time=time):
                self.retried[time] = stored.sequence, event
                self._drop_void()
            case ChunkDone(n=n):
                self.chunks[n] = event if self.words else msgspec.structs.replace(event, segments=())
                self._heard_at = max(self._heard_at, stored.at)
            case Progress(stage=stage):
                self.progress[stage] = event
            case None:
                pass  # it counts for the fence, by which the stream would refuse our end of the job
            case _:
                setattr(self, type(event).__name__.lower(), event)
        self.sequences[stored.subject] = stored.sequence
        self.times[stored.subject] = stored.at

    def _is_void(self, event: Message | None, sequence: int) -> bool:
        """Whether a retry came after this fact and took it back."""
        later = [retried for at, retried in self.retried.values() if at > sequence]
        if isinstance(event, ChunkDone):
            return any(event.n in retried.chunks for retried in later)
        return bool(later) and isinstance(event, Failed | Completed | Converted | Progress)

    def _drop_void(self) -> None:
        held = [self.failed, self.completed, self.converted, *self.chunks.values(), *self.progress.values()]
        for event in held:
            if event and self._is_void(event, self.sequences[event.subject]):
                self.sequences.pop(event.subject)
                self.times.pop(event.subject)
                if isinstance(event, ChunkDone):
                    del self.chunks[event.n]
                elif isinstance(event, Progress):
                    del self.progress[event.stage]
                else:
                    setattr(self, type(event).__name__.lower(), None)
        self._heard_at = max((self.times[chunk.subject] for chunk in self.chunks.values()), default=0.0)

    def forget_chunks(self) -> None:
        """Let go of the results of chunks, as if their facts had not been applied."""
        for chunk in self.chunks.values():
            self.sequences.pop(chunk.subject)
            self.times.pop(chunk.subject)
        self.chunks.clear()
        self._heard_at = 0.0

    @property
    def fence(self) -> int:
        """The sequence of the latest fact that decides about the job, for a fact that rests on them."""
        return max((at for subject, at in self.sequences.items() if subject.count(".") == 3), default=0)

    @property
    def is_withdrawn(self) -> bool:
        """Whether a retry took back how it ended and has not sent it on its way again yet."""
        begins = [fact.SUBJECT.format(job=self.id) for fact in (Submitted, Downloaded)]
        begun = max(self.sequences.get(subject, 0) for subject in begins)
        return any(at > begun for at, _ in self.retried.values())

    @property
    def retries(self) -> int:
        """How many times it was retried."""
        return max(self.retried, default=0)

    @property
    def state(self) -> State:
        """An end outlives whatever arrives late: cancelled before completed before failed.

        A list has ended when all its entries have: failed where one of them failed, otherwise completed where one
        of them completed.
        """
        if self.cancelled:
            return "cancelled"
        if self.completed:
            return "completed"
        if self.failed:
            return "failed"
        if self.listed:
            return self._state_of_list(self.listed.children)
        if self.converted or self.downloaded:
            return "transcribing" if self.converted or self.chunks else "converting"
        return "downloading" if "download" in self.progress else "queued"

    def _state_of_list(self, length: int) -> State:
        if len(self.children) < length or not all(child.ended for child in self.children.values()):
            return "listed"
        outcomes = {child.state for child in self.children.values()}
        return "failed" if "failed" in outcomes else "completed" if "completed" in outcomes else "cancelled"

    @property
    def ended(self) -> bool:
        return self.state in ("cancelled", "completed", "failed")

    @property
    def counts(self) -> "Counter[State]":
        """How many of a list's entries are in which state."""
        return Counter(child.state for child in self.children.values())

    @property
    def parts(self) -> "list[Job]":
        """The jobs that have transcripts: a list's entries in their order, or the job itself."""
        return [child for _, child in sorted(self.children.items())] if self.listed else [self]

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
        """Those in force: a retry by another model changes them."""
        if self.downloaded:
            return self.downloaded.options
        return self.submitted.options if self.submitted else Options()

    @property
    def reason(self) -> str:
        """Why it failed, in a sentence; empty where it did not."""
        if self.state != "failed":
            return ""
        if self.failed:
            return self.failed.reason
        reasons = [child.reason for child in self.parts if child.reason]
        return f"{len(reasons)} of {len(self.children)} entries failed, the first with: {reasons[0]}"

    @property
    def duration(self) -> float | None:
        """Seconds of media, as far as is known: decoded, or declared by the file."""
        if self.converted:
            return self.converted.duration
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
        """Whether every chunk there will ever be has its result."""
        return self.converted is not None and len(self.chunks) >= self.converted.chunks

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
        """How much of the media there was, where it ends before the length it declares."""
        return self.converted.truncated if self.converted else None

    @property
    def sound(self) -> Sound | None:
        """What there was to hear; None before all of it was decoded."""
        return self.converted.sound if self.converted else None

    @property
    def started_at(self) -> float | None:
        """Unix seconds by the server's clock, as all times here."""
        return self.times.get(Submitted.SUBJECT.format(job=self.id))

    @property
    def ended_at(self) -> float | None:
        times = [self.times[end] for end in ends(self.id) if end in self.times]
        if self.listed and not times and self.ended:
            times = [max(child.ended_at or 0.0 for child in self.children.values())]
        return times[0] if times else None

    @property
    def transcribed(self) -> float:
        """Seconds of media that lie behind the chunks that are done, silence between them included."""
        if self.is_whole and self.converted:
            return self.converted.duration
        share = len(self.chunks) / self.chunks_cut if self.chunks_cut else 0.0
        return self.decoded * share

    @property
    def speed(self) -> float | None:
        """How many seconds of media become text in a second, from the end of the download to the latest result."""
        begun = self.times.get(Downloaded.SUBJECT.format(job=self.id))
        if begun is None or self._heard_at <= begun:
            return None
        return self.transcribed / (self._heard_at - begun)

    @property
    def eta(self) -> float | None:
        """Seconds until all is transcribed, at this speed; None where it cannot be told."""
        if self.ended or not self.speed or not self.duration:
            return None
        return max(0.0, self.duration - self.transcribed) / self.speed

    def segments(self) -> Iterator[Segment]:
        """All segments there are, in the order of the media."""
        for _, chunk in sorted(self.chunks.items()):
            yield from chunk.segments


def fold(job: str, facts: Iterable[Stored]) -> Job:
    """The state of `job` after `facts`, which are its own and, where it is a list, those of its entries."""
    state = Job(job)
    for fact in facts:
        state.apply(fact)
    return state


def fold_all(facts: Iterable[Stored]) -> dict[str, Job]:
    """The state of every job that has facts, by id; the entries of a list are in the list's."""
    states: dict[str, Job] = {}
    for fact in facts:
        job, _ = place_of(job_of(fact.subject))
        states.setdefault(job, Job(job)).apply(fact)
    return states
