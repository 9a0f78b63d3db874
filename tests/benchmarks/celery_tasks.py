"""The work of our overhead benchmark as Celery's users would write it, and the client that puts it into the queue.

`python -m tests.benchmarks.celery_tasks` reads a way to collect, a job's name and its number of chunks from each line
of its standard input, and answers each with the seconds from the first put to the transcript that is stored.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import redis
from celery import Celery, chord, group

from schemas.chunks import SAMPLE_RATE, Span
from schemas.options import Request
from schemas.transcript import Segment, Transcript
from v2t_stream.audio import flac
from v2t_stream.engines.registry import load_engine
from v2t_stream.jobs.formats import FORMATS, render
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.segments import segments as segments_of
from v2t_stream.transcription.transcriber import Transcriber
from v2t_stream.transcription.words import spoken

SECONDS = 1.0  # of media in a chunk
MODEL = "x1000000"
PREFETCH = 64  # as Celery's guide has it for short tasks
_AUDIO = "media/queued/chunk.flac"
_PATIENCE = 600.0  # seconds

app = Celery(
    "tests.benchmarks.celery_tasks", broker=os.environ["BENCHMARK_REDIS"], backend=os.environ["BENCHMARK_REDIS"]
)
app.conf.update(
    # So that a worker that is killed loses no task; ours does not either.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=PREFETCH,
)
store = redis.Redis.from_url(os.environ["BENCHMARK_REDIS"])
_engines: list[Transcriber] = []  # one in each process of the pool, made by its first task


def _transcribe(n: int) -> dict[str, Any]:
    if not _engines:
        _engines.append(load_engine("simulated")(model=MODEL, device="cpu", threads=1))
    samples = flac.decode(store.get(_AUDIO))
    (heard,) = _engines[0].transcribe([samples], Request(language="en"))
    length = round(SECONDS * SAMPLE_RATE)
    layout = Layout([Span(n * length, length)], None)
    words = layout.trimmed(spoken(heard.segments, layout.speech))
    segments = segments_of([layout.placed(word) for word in words], word_times=False)
    return {"n": n, "segments": msgspec.to_builtins(segments)}


def _aggregate(chunks: list[dict[str, Any]], job: str) -> int:
    chunks.sort(key=lambda chunk: int(chunk["n"]))
    segments = msgspec.convert([segment for chunk in chunks for segment in chunk["segments"]], tuple[Segment, ...])
    transcript = Transcript(
        job=job,
        title=job,
        source=job,
        duration=len(chunks) * SECONDS,
        task="transcribe",
        language="en",
        engines=("simulated",),
        models=(MODEL,),
        segments=segments,
    )
    store.mset({f"transcripts/{job}/transcript.{format_}": render(transcript, format_) for format_ in FORMATS})
    return len(chunks)


@app.task
def transcribe(n: int) -> dict[str, Any]:
    """One chunk's segments as the task's result."""
    return _transcribe(n)


@app.task
def aggregate(chunks: list[dict[str, Any]], job: str) -> int:
    """What a chord calls with all results."""
    return _aggregate(chunks, job)


@app.task(ignore_result=True)
def transcribe_into_hash(n: int, job: str, chunks: int) -> None:
    """One chunk's segments into a hash of the job; the one that completes it starts the end."""
    with store.pipeline(transaction=False) as pipe:
        pipe.hset(f"chunks/{job}", str(n), msgspec.json.encode(_transcribe(n)))
        pipe.hlen(f"chunks/{job}")
        _, done = pipe.execute()
    if done == chunks:
        aggregate_hash.apply_async((job,), task_id=job)


@app.task
def aggregate_hash(job: str) -> int:
    return _aggregate([msgspec.json.decode(chunk) for chunk in store.hvals(f"chunks/{job}")], job)


def _chord(job: str, chunks: int) -> int:
    return chord(map(transcribe.s, range(chunks)))(aggregate.s(job)).get(_PATIENCE)


def _join(job: str, chunks: int) -> int:
    return _aggregate(group(map(transcribe.s, range(chunks))).apply_async().join_native(_PATIENCE), job)


def _hash(job: str, chunks: int) -> int:
    with app.producer_pool.acquire(block=True) as producer:
        for n in range(chunks):
            transcribe_into_hash.apply_async((n, job, chunks), producer=producer)
    return app.AsyncResult(job).get(_PATIENCE)


WAYS: dict[str, Callable[[str, int], int]] = {"chord": _chord, "join": _join, "hash": _hash}


def main() -> None:
    store.set(_AUDIO, flac.encode(np.zeros(round(SECONDS * SAMPLE_RATE), np.int16)))
    for line in sys.stdin:
        way, job, chunks = line.split()
        begun = time.perf_counter()
        done = WAYS[way](job, int(chunks))
        took = time.perf_counter() - begun
        text = store.get(f"transcripts/{job}/transcript.txt")
        if done != int(chunks) or len(text.splitlines()) != done:
            raise RuntimeError(f"{job}: {done} of {chunks} chunks, {len(text.splitlines())} lines of text")
        sys.stdout.write(f"{took}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
