"""Aggregate: when all chunks of a job are done, store its transcript in every format."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from schemas.events import ChunkDone, Completed, Converted, Done, Named, Rerun
from schemas.message import Message, decode_as
from schemas.transcript import Transcript
from v2t_stream.errors import Reject, Retry
from v2t_stream.jobs import previous, voices
from v2t_stream.jobs.assembly import assemble, stored
from v2t_stream.jobs.copies import store_copies
from v2t_stream.jobs.corrections import carry
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold
from v2t_stream.jobs.superseded import remove_superseded
from v2t_stream.jobs.written import write
from v2t_stream.runtime.stage import Resources
from v2t_stream.store.protocol import BucketStore
from v2t_stream.topology.ids import folder
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import but_chunks, facts_of

_BETWEEN_LOOKS: Final = 0.05  # seconds between two looks at one job


class Aggregate:
    """Keeps no state besides the stream: any aggregator can finish any job at any time."""

    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("aggregate")
        self._store = resources.store
        self._settings = resources.settings
        self._connection = resources.connection
        self._looks: WeakValueDictionary[tuple[str, int], _Look] = WeakValueDictionary()

    async def process(self, fact: ChunkDone | Converted) -> AsyncGenerator[Message, bool | None]:
        """After each fact, look at the whole job; facts that wait at the same time share a look."""
        look = self._looks.setdefault((fact.job, fact.run), _Look())
        arrived = look.now()
        async with look.lock:
            if look.begun > arrived:
                return
            await look.begin()
            if not await self._is_whole(fact.job, fact.run):
                return
            job = await self._read(fact.job, fact.run)
            if job is None:
                return
            transcript = await asyncio.to_thread(assemble, job)  # seconds for ten hours of speakers
            if job.options.voices and not job.named:
                # The library may change between two aggregators. The first names become a fact, which all of them take.
                yield Named(job=job.id, people=await voices.known(self._store, transcript.speakers))
                transcript = await voices.named(self._connection, transcript)
            # Only aggregators of this run write there, and all write the same.
            name = f"transcripts/{folder(job.id, job.run)}/transcript"
            await write(self._store, name, transcript)
            kept = await carry(self._store, job, transcript)
            shown = kept[0] if kept else transcript
            await self._copied(job, shown)
            if kept:
                yield kept[1]
            origin = await previous.origin_of(self._store, job.downloaded) if job.downloaded else ""
            for result in _results(job, transcript, name, origin):
                yield result
            if job.run:
                # Again, because an aggregator of an older run may have gone on without seeing the end of this one.
                await self._copied(job, shown)
                await remove_superseded(self._connection, self._store, job.id)

    async def _copied(self, job: Job, transcript: Transcript) -> None:
        """Copy to the end, even if nobody needs it any more: a write that has begun cannot be called back."""
        copying = asyncio.create_task(self._copy(job, transcript))
        try:
            await asyncio.shield(copying)
        except asyncio.CancelledError:
            await asyncio.gather(copying, return_exceptions=True)
            raise

    async def _copy(self, job: Job, transcript: Transcript) -> None:
        """Store an upload's transcript under its name too; if a later run has ended meanwhile, that run's instead.

        All runs share these names, so an aggregator that paused in the middle corrects what it wrote too late.
        """
        if not isinstance(self._store, BucketStore):
            return
        version = job.downloaded.version if job.downloaded else None
        while await store_copies(self._connection, self._store, self._settings, transcript, version):
            now = fold(job.id, await history(self._connection, but_chunks(job.id)))
            if now.run == job.run or not now.completed:
                return
            job, transcript = now, await stored(self._store, now.transcript)

    async def _read(self, job_id: str, run: int) -> Job | None:
        """The job with all its chunks; None if there is nothing to do. Raises Reject if it has no transcript."""
        job = fold(job_id, await history(self._connection, [facts_of(job_id)]))
        if job.run < run:
            raise Retry("not all facts of the job can be read yet", delay=1)  # the replica lags behind
        if job.ended or job.run != run:
            return None  # since the fact was pulled
        if not job.is_whole:
            raise Retry("not all facts of the job can be read yet", delay=1)
        if job.chunks and len(job.gaps) == len(job.chunks):
            raise Reject(f"none of it could be transcribed: {job.gaps[0].reason}")
        return job

    async def _is_whole(self, job: str, run: int) -> bool:
        """Whether all cut chunks are done or kept: two or three requests, however long the job."""
        converted = await self._connection.last(JOBS, Converted.subject_of(job=job, run=run))
        if converted is None:
            return False
        try:
            cut = decode_as(Converted, converted.data).chunks
            kept = await self._kept(job, run) if run else 0
        except msgspec.DecodeError:  # the fact's own stage ends the job for it, or waits for a newer node
            return False
        results = await self._connection.subjects(JOBS, ChunkDone.subject_of(job=job, run=run, n="*"))
        return len(results) + kept >= cut

    async def _kept(self, job: str, run: int) -> int:
        """How many results this run keeps from the one before. Raises msgspec.DecodeError."""
        rerun = await self._connection.last(JOBS, Rerun.subject_of(job=job, run=run))
        return len(decode_as(Rerun, rerun.data).keeps) if rerun else 0

    async def close(self) -> None:
        """Nothing to close."""


class _Look:
    """Schedules the looks at one job in this process."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.begun = 0
        self._clock = itertools.count(1)
        self._next = 0.0  # by the loop's clock

    async def begin(self) -> None:
        """A look lists all finished chunks, so the many facts of a long job should share one."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._next - loop.time())
        self._next = loop.time() + _BETWEEN_LOOKS
        self.begun = self.now()

    def now(self) -> int:
        return next(self._clock)


def _results(job: Job, transcript: Transcript, name: str, origin: str) -> Iterator[Message]:
    """The facts about a transcript stored as `name`, of media of this origin."""
    if origin and not job.gaps and previous.is_repeatable(job.options):
        yield Done(
            job=job.id,
            run=job.run,
            key=previous.key(origin, job.options),
            transcript=name,
            language=transcript.language,
            segments=len(transcript.segments),
            unheard=len(transcript.unheard),
            truncated=transcript.truncated is not None,
            title=job.title,
            duration=transcript.duration,
        )
    yield Completed(
        job=job.id,
        run=job.run,
        transcript=name,
        language=transcript.language,
        segments=len(transcript.segments),
        gaps=len(transcript.gaps),
        unheard=len(transcript.unheard),
        truncated=transcript.truncated is not None,
        duration=transcript.duration,
    )
