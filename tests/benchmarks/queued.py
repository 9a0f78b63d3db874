"""Jobs that are already cut: chunks of silence straight into the queue, for engines that only take their time."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from schemas.chunks import SAMPLE_RATE, ChunkTask, Span
from schemas.events import Converted, Downloaded, Submitted
from schemas.options import Options
from tests.harness import ended
from v2t_stream.audio import flac
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.state import Job
from v2t_stream.store.jetstream_store import JetStreamStore

_OPTIONS = Options(language="en")
_AT_ONCE = 64


@dataclass
class Queue:
    """Puts jobs of equal chunks into the queue. `seconds`: of media in each."""

    connection: Connection
    seconds: float

    async def prepare(self) -> None:
        """Store the audio that all chunks share."""
        silence = np.zeros(round(self.seconds * SAMPLE_RATE), np.int16)
        await JetStreamStore(self.connection).put("media/queued/chunk.flac", flac.encode(silence))

    async def put(self, job: str, chunks: int) -> None:
        """What intake, download and convert would have published."""
        publish = self.connection.publish
        await publish(Submitted(job=job, title=job, url="http://127.0.0.1/", options=_OPTIONS))
        await publish(Downloaded(job=job, title=job, source=job, media="media/queued/x", size=1, seconds=0))
        length = round(self.seconds * SAMPLE_RATE)
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(n: int) -> None:
            task = ChunkTask(
                job=job, n=n, audio="media/queued/chunk.flac", spans=(Span(n * length, length),), options=_OPTIONS
            )
            async with places:
                await publish(task)

        await asyncio.gather(*map(one, range(chunks)))
        total = chunks * self.seconds
        await publish(Converted(job=job, chunks=chunks, duration=total, speech=total, seconds=0))

    async def run(self, jobs: dict[str, int], *, timeout: float = 600) -> tuple[float, list[Job]]:
        """Do jobs of so many chunks each; the seconds from the first put to the last end."""
        begun = time.perf_counter()
        await asyncio.gather(*(self.put(job, chunks) for job, chunks in jobs.items()))
        done = await asyncio.gather(*(ended(self.connection, job, timeout) for job in jobs))
        took = time.perf_counter() - begun
        if bad := [job.id for job in done if job.state != "completed" or job.gaps]:
            raise RuntimeError(f"not completed: {', '.join(bad)}")
        return took, done


async def until(connection: Connection, nodes: int) -> list[NodeInfo]:
    """Wait for so many transcribe nodes; they."""
    while True:
        found = [info for info in await fleet(connection) if info.stage == "transcribe"]
        if len(found) >= nodes:
            return found
        await asyncio.sleep(0.1)
