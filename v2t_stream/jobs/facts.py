"""The current facts of a job, by run."""

import contextlib
from dataclasses import dataclass, field
from typing import Self

import msgspec

from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Corrected,
    Downloaded,
    Failed,
    Language,
    Listed,
    Named,
    Progress,
    Rerun,
    Retried,
    Submitted,
    Tries,
)
from schemas.hooks import Notify
from schemas.message import Message
from v2t_stream.broker.requests import Stored
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.subjects import decode, job_of, message_type


@dataclass
class Run:
    """What is known of one run of a job."""

    rerun: Rerun | None = None  # the retry that began it; None for the first run
    downloaded: Downloaded | None = None
    listed: Listed | None = None
    converted: Converted | None = None
    language: Language | None = None
    completed: Completed | None = None
    corrected: Corrected | None = None
    failed: Failed | None = None
    chunks: dict[int, ChunkDone] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    heard_at: float = 0.0  # when the latest result of a chunk was stored

    @property
    def media(self) -> Downloaded | None:
        """The media that chunks are cut from: this run downloaded it, or began with it."""
        begun = self.rerun.begins if self.rerun else None
        return self.downloaded or (begun if isinstance(begun, Downloaded) else None)


@dataclass
class Facts:
    """The facts of one job and, if it is a list, of its entries' jobs.

    `apply` takes facts in any order and any number of times: on each subject the fact with the highest sequence counts,
    which is the stream's own rule. The latest run counts, with what it keeps from earlier ones.
    """

    id: str
    # Keep the spoken words and the voices, which are most of the data; a list of many jobs only counts chunks.
    words: bool = True
    submitted: Submitted | None = None
    cancelled: Cancelled | None = None
    named: Named | None = None
    run: int = 0  # the latest
    runs: dict[int, Run] = field(default_factory=lambda: {0: Run()})
    times: dict[str, float] = field(default_factory=dict)  # by subject, when the server stored the fact
    sequences: dict[str, int] = field(default_factory=dict)  # by subject
    unread: set[str] = field(default_factory=set)  # subjects of known kinds whose facts cannot be read
    retried: dict[int, tuple[int, Retried]] = field(default_factory=dict)  # by number, with the fact's sequence
    children: dict[int, Self] = field(default_factory=dict)  # by their place in the list, from 1
    changes: int = field(default=0, init=False, compare=False)  # how many times it has changed, with its entries

    def apply(self: Self, stored: Stored) -> None:
        """Take one fact. If it cannot be read or does not belong on its subject, note only that it exists."""
        self.changes += 1
        if (job := job_of(stored.subject)) != self.id:
            _, place = place_of(job)
            self.children.setdefault(place, type(self)(job, words=self.words)).apply(stored)
            return
        if self.sequences.get(stored.subject, -1) >= stored.sequence:
            return
        event = None
        with contextlib.suppress(msgspec.DecodeError):
            event = decode(stored.subject, stored.data)
        if self._is_void(event, stored.sequence):
            return
        self.unread.discard(stored.subject)
        if event is not None:
            self._take(event, stored)
        elif message_type(stored.subject):
            self.unread.add(stored.subject)
        self.sequences[stored.subject] = stored.sequence
        self.times[stored.subject] = stored.at

    def _take(self, event: Message, stored: Stored) -> None:
        match event:
            case Submitted():
                self.submitted = event
            case Cancelled():
                self.cancelled = event
            case Named():
                self.named = event
            case Rerun():
                self._of(event).rerun = event
                self.run = max(self.run, event.run)
            case Retried(time=time):
                self.retried[time] = stored.sequence, event
                self._drop_void()
            case ChunkDone(n=n):
                run = self._of(event)
                run.chunks[n] = event if self.words else msgspec.structs.replace(event, segments=(), windows=())
                run.heard_at = max(run.heard_at, stored.at)
            case Progress(stage=stage):
                self._of(event).progress[stage] = event
            case Tries() | Notify():
                pass  # for workers
            case _:
                setattr(self._of(event), type(event).__name__.lower(), event)

    def _of(self, event: Message) -> Run:
        if event.run not in self.runs:
            self.runs[event.run] = Run()
        return self.runs[event.run]

    def _is_void(self, event: Message | None, sequence: int) -> bool:
        """Whether a retry by release 0.1, which had only one run, came after this fact and cancelled it."""
        if event is None or event.run:
            return False
        later = [retried for at, retried in self.retried.values() if at > sequence]
        if isinstance(event, ChunkDone):
            return any(event.n in retried.chunks for retried in later)
        return bool(later) and isinstance(event, Failed | Completed | Converted | Progress)

    def _drop_void(self) -> None:
        run = self.runs[0]
        held = [run.failed, run.completed, run.converted, *run.chunks.values(), *run.progress.values()]
        for event in held:
            if event and self._is_void(event, self.sequences[event.subject]):
                self.sequences.pop(event.subject)
                self.times.pop(event.subject)
                if isinstance(event, ChunkDone):
                    del run.chunks[event.n]
                elif isinstance(event, Progress):
                    del run.progress[event.stage]
                else:
                    setattr(run, type(event).__name__.lower(), None)
        run.heard_at = max((self.times[chunk.subject] for chunk in run.chunks.values()), default=0.0)

    def go_back_to(self, transcript: str) -> None:
        """Count the run that stored `transcript`, if there is one, although a later run may have begun."""
        for number, run in self.runs.items():
            if run.completed and run.completed.transcript == transcript:
                self.run = number

    def forget_chunks(self) -> None:
        """Drop the results of chunks, as if their facts had not been applied."""
        self.changes += 1
        for run in self.runs.values():
            for chunk in run.chunks.values():
                self.sequences.pop(chunk.subject)
                self.times.pop(chunk.subject)
            run.chunks.clear()
            run.heard_at = 0.0

    @property
    def _current(self) -> Run:
        return self.runs[self.run]

    @property
    def begun(self) -> Submitted | Downloaded | None:
        """What the run starts from, until it finds out more itself."""
        return self._current.rerun.begins if self._current.rerun else self.submitted

    @property
    def downloaded(self) -> Downloaded | None:
        return self._current.media

    @property
    def listed(self) -> Listed | None:
        return self._current.listed

    @property
    def converted(self) -> Converted | None:
        return self._current.converted

    @property
    def language(self) -> Language | None:
        return self._current.language

    @property
    def completed(self) -> Completed | None:
        return self._current.completed

    @property
    def corrected(self) -> Corrected | None:
        return self._current.corrected

    @property
    def kept_correction(self) -> Corrected | None:
        """The latest correction of an earlier run, if this run keeps it."""
        if not self._current.rerun or not self._current.rerun.keeps_correction:
            return None
        earlier = (run.corrected for number, run in sorted(self.runs.items(), reverse=True) if number < self.run)
        return next(filter(None, earlier), None)

    @property
    def failed(self) -> Failed | None:
        return self._current.failed

    @property
    def progress(self) -> dict[str, Progress]:
        return self._current.progress

    @property
    def chunks(self) -> dict[int, ChunkDone]:
        """By number. Includes those kept from the run before, which may itself have kept some."""
        return self._chunks_of(self.run)

    def _chunks_of(self, number: int) -> dict[int, ChunkDone]:
        run = self.runs.get(number)
        if run is None:
            return {}
        if not run.rerun or not run.rerun.keeps:
            return run.chunks
        before = self._chunks_of(number - 1)
        return {n: before[n] for n in run.rerun.keeps if n in before} | run.chunks
