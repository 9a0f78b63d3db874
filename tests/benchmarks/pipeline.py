"""The pipeline under test: broker and stages up, the model loaded, and a clock beside each job."""

import contextlib
import os
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from schemas.options import DEMO_MODEL
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.benchmarks.processes import processor_seconds, running
from tests.harness import DATA, broker, node
from tests.observed import pulled_by
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.following import states
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.stages import STAGES

BATCH = 4  # chunks in one call of the engine: the default on a processor, here for the direct call too


@dataclass
class Run:
    """One job. Times are in seconds since its upload began."""

    job: str = ""
    uploaded: float = 0.0
    submitted: float = 0.0
    downloaded: float = 0.0  # heard of by the watcher, as all below
    first: float = 0.0  # the first chunk with segments
    converted: float = 0.0
    last: float = 0.0  # the last chunk
    completed: float = 0.0
    chunks: int = 0
    engine: float = 0.0  # seconds in calls of the engine
    processor: dict[str, float] = field(default_factory=dict)  # seconds by process, `watcher` being this one


@dataclass
class Pipeline:
    """A running one."""

    connection: Connection

    async def run(
        self, path: Path, *, engine: str = "faster-whisper", word_timestamps: bool = False, until_first: bool = False
    ) -> Run:
        """Send a file as `v2t convert` does, and watch the job until it ends, or until its first segment."""
        before = processor_seconds(running()) | {"watcher": time.process_time()}
        run = Run()
        begun = time.perf_counter()
        # The key is new each time: the same submission twice would be one job.
        media = f"media/uploads/{secrets.token_hex(12)}/source{path.suffix}"
        await JetStreamStore(self.connection).put_file(media, path)
        run.uploaded = time.perf_counter() - begun
        request = SubmitRequest(
            media=media, title=path.name, language="en", engine=engine, word_timestamps=word_timestamps, force=True
        )
        run.job, _ = await submit(self.connection, request)
        run.submitted = time.perf_counter() - begun
        async for job in states(self.connection, run.job):
            now = time.perf_counter() - begun
            run.downloaded = run.downloaded or (now if job.downloaded else 0.0)
            run.converted = run.converted or (now if job.converted else 0.0)
            if len(job.chunks) > run.chunks:
                run.chunks, run.last = len(job.chunks), now
                if not run.first and any(chunk.segments for chunk in job.chunks.values()):
                    run.first = now
            if run.first and until_first:
                return run
        if job.state != "completed":
            raise RuntimeError(f"{path.name}: {job.state}: {job.reason}")
        run.completed = now
        run.engine = sum(chunk.seconds for chunk in job.chunks.values())
        after = processor_seconds(running()) | {"watcher": time.process_time()}
        run.processor = {name: after[name] - before.get(name, 0.0) for name in after}
        return run

    async def transcript(self, run: Run) -> Transcript:
        """What was heard."""
        data = await JetStreamStore(self.connection).get(f"transcripts/{run.job}/transcript.json")
        return msgspec.json.decode(data, type=Transcript)


@contextlib.asynccontextmanager
async def pipeline(
    folder: Path,
    threads: int,
    engine: str = "faster-whisper",
    *,
    model: str = DEMO_MODEL,
    batch: int = BATCH,
    fresh: bool = False,
) -> AsyncGenerator[Pipeline]:
    """Broker and all stages, with one worker of `threads` for transcription.

    They have the model loaded and a short clip behind them; `fresh`: they only wait for work.
    """
    home = folder / f"pipeline-{secrets.token_hex(4)}"
    settings = {"V2T_ENGINE": engine, "V2T_THREADS": str(threads), "V2T_BATCH": str(batch), "V2T_MODEL": model}
    async with broker(home / "nats") as (server, connection):
        with node(server.url, home / "home", V2T_WARM="false" if fresh else "true", **settings):
            ready = Pipeline(connection)
            if fresh:
                for row in STAGES:
                    await pulled_by(connection, row.name, 1)
            else:
                await ready.run(DATA / "5s.flac", engine=engine)
            yield ready


def cores() -> int:
    """The cores this machine lends us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
