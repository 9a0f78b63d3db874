"""Aggregate: when all chunks of a job are done, store its transcript in every format."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from schemas.events import ChunkDone, Completed, Converted, Done
from schemas.message import Message
from schemas.transcript import Transcript
from v2t_stream import done
from v2t_stream.assembly import assemble
from v2t_stream.copies import store_copies
from v2t_stream.errors import Reject, Retry
from v2t_stream.formats import render_all
from v2t_stream.jobs import Job, fold
from v2t_stream.lists import history
from v2t_stream.object_store import BucketStore
from v2t_stream.stage import Resources
from v2t_stream.topology import JOBS, ends, stage_row

_BETWEEN_LOOKS: Final = 0.05  # seconds between two looks at one job


class Aggregate:
    """Keeps nothing that the stream does not hold: any aggregator can finish any job at any time."""

    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("aggregate")
        self._store = resources.store
        self._settings = resources.settings
        self._connection = resources.connection
        self._looks: WeakValueDictionary[str, _Look] = WeakValueDictionary()

    async def process(self, fact: ChunkDone | Converted) -> AsyncGenerator[Message]:
        """Each fact needs a look at the whole job that begins after it came; facts that wait together share one."""
        look = self._looks.setdefault(fact.job, _Look())
        arrived = look.now()
        async with look.lock:
            if look.begun > arrived:
                return
            await look.begin()
            if not await self._is_whole(fact.job):
                return
            job = await self._read(fact.job)
            if job is None:
                return
            transcript = assemble(job)
            name = f"transcripts/{job.id}/transcript"
            for format_, text in render_all(transcript):
                await self._store.put(f"{name}.{format_}", text.encode())
            if isinstance(self._store, BucketStore):
                version = job.downloaded.version if job.downloaded else None
                await store_copies(self._connection, self._store, self._settings, transcript, version)
            for result in _results(job, transcript, name):
                yield result
            if not await self._connection.any_of(JOBS, ends(job.id)):
                raise Retry("the job changed while its transcript was stored", delay=0)

    async def _read(self, job_id: str) -> Job | None:
        """The job with all its chunks; None where there is nothing to do. Raises Reject where it has no transcript."""
        job = fold(job_id, await history(self._connection, [f"v2t.job.{job_id}.>"]))
        if job.ended:
            return None  # since the fact was pulled; to rest on that end would make a second one
        if not job.is_whole:
            if await self._is_whole(job_id):
                raise Retry("the facts of the job are not all readable yet", delay=1)  # the replica lags behind
            return None  # a chunk's fact was withdrawn in between; its new one will look again
        if job.chunks and len(job.gaps) == len(job.chunks):
            raise Reject(f"nothing of it could be transcribed: {job.gaps[0].reason}")
        return job

    async def _is_whole(self, job: str) -> bool:
        """Whether as many chunks are done as were cut: two requests, however long the job."""
        data = await self._connection.last(JOBS, Converted.SUBJECT.format(job=job))
        if data is None:
            return False
        results = await self._connection.subjects(JOBS, ChunkDone.SUBJECT.format(job=job, n="*"))
        return len(results) >= msgspec.json.decode(data, type=Converted).chunks

    async def close(self) -> None:
        """Nothing is held."""


class _Look:
    """Orders the looks at one job within this process."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.begun = 0
        self._clock = itertools.count(1)
        self._next = 0.0  # by the loop's clock

    async def begin(self) -> None:
        """A look lists all chunks that are done, so a long job's many facts are to share it."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._next - loop.time())
        self._next = loop.time() + _BETWEEN_LOOKS
        self.begun = self.now()

    def now(self) -> int:
        return next(self._clock)


def _results(job: Job, transcript: Transcript, name: str) -> Iterator[Message]:
    """What is published of a transcript that is stored as `name`."""
    if job.downloaded and job.downloaded.origin and not job.gaps:
        yield Done(
            job=job.id,
            key=done.key(job.downloaded.origin, job.options),
            transcript=name,
            language=transcript.language,
            segments=len(transcript.segments),
            unheard=len(transcript.unheard),
            truncated=transcript.truncated is not None,
            title=job.title,
        )
    yield Completed(
        job=job.id,
        after=job.fence,
        transcript=name,
        language=transcript.language,
        segments=len(transcript.segments),
        gaps=len(transcript.gaps),
        unheard=len(transcript.unheard),
        truncated=transcript.truncated is not None,
    )
