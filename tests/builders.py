"""Messages and what stages need, with values that fit: a test names only those that it is about."""

from typing import Any

import msgspec

from schemas.chunks import SAMPLE_RATE, ChunkTask, Span
from schemas.events import ChunkDone, Completed, Converted, DeadLetter, Downloaded, Failed, Rerun, Submitted
from schemas.message import Message, encode
from schemas.options import Options
from schemas.transcript import Segment, Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.fleet.presence import NodeInfo, Presence
from v2t_stream.runtime.stage import Resources
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import ObjectStore

LINK = "http://127.0.0.1/x"


def submitted(job: str = "job", **fields: Any) -> Submitted:
    where = {} if "media" in fields else {"url": LINK}
    return Submitted(job=job, **{"title": "Talk", **where, **fields})


def downloaded(job: str = "job", **fields: Any) -> Downloaded:
    usual = {"title": "Talk", "source": LINK, "media": f"media/{job}/source", "size": 1, "seconds": 1}
    return Downloaded(job=job, **{**usual, **fields})


def converted(job: str = "job", chunks: int = 1, **fields: Any) -> Converted:
    usual = {"duration": 30 * chunks, "speech": 30 * chunks, "seconds": 1}
    return Converted(job=job, chunks=chunks, **{**usual, **fields})


def task(n: int = 0, job: str = "job", **fields: Any) -> ChunkTask:
    """A second of audio."""
    spans = (Span(SAMPLE_RATE * n, SAMPLE_RATE),)
    usual = {"audio": f"media/{job}/chunks/{n}.flac", "spans": spans, "options": Options()}
    return ChunkTask(job=job, n=n, **{**usual, **fields})


def chunk(n: int = 0, text: str = "", job: str = "job", **fields: Any) -> ChunkDone:
    """30 seconds, with `text` in the first."""
    start = 30.0 * n
    segments = (Segment(start=start, end=start + 1, text=text),) if text else ()
    return ChunkDone(job=job, n=n, **{"start": start, "end": start + 30, "segments": segments, **fields})


def done(task: ChunkTask) -> ChunkDone:
    """The result of a task, with words."""
    segments = (Segment(start=task.start, end=task.end, text=f"words {task.n}"),)
    return ChunkDone(job=task.job, run=task.run, n=task.n, start=task.start, end=task.end, segments=segments)


def completed(job: str = "job", **fields: Any) -> Completed:
    return Completed(job=job, **{"transcript": f"transcripts/{job}/transcript", **fields})


def failed(job: str = "job", **fields: Any) -> Failed:
    return Failed(job=job, **{"stage": "convert", "reason": "bad", **fields})


def rerun(begins: Submitted | Downloaded, run: int = 1, **fields: Any) -> Rerun:
    return Rerun(job=begins.job, run=run, begins=later(run, begins), **fields)


def dead(job: str = "job", **fields: Any) -> DeadLetter:
    usual = {"stage": "convert", "reason": "bad", "original_subject": f"v2t.job.{job}.downloaded", "data": b""}
    return DeadLetter(job=job, **{**usual, "deliveries": 1, "node": "here", **fields})


def later(run: int, fact: Message) -> Message:
    """The same fact of a later run."""
    return msgspec.structs.replace(fact, run=run)


def stored(*facts: Message) -> list[Stored]:
    """As the stream holds them, one a second."""
    return [Stored(fact.subject, encode(fact), n, 1000.0 + n) for n, fact in enumerate(facts, 1)]


def transcript(*segments: Segment, **fields: Any) -> Transcript:
    usual = {"job": "job", "title": "Talk", "source": LINK, "duration": 60.0, "task": "transcribe", "language": "en"}
    return Transcript(segments=segments, **{**usual, "engines": ("e",), "models": ("m",), **fields})


def process(stage: str = "transcribe", **fields: Any) -> NodeInfo:
    """What it reports to the fleet."""
    return NodeInfo(stage=stage, **{"node": "here", "pid": 1, "version": "1", "state": "ready", **fields})


def resources(
    connection: Connection,
    settings: Settings | None = None,
    *,
    store: ObjectStore | None = None,
    presence: Presence | None = None,
) -> Resources:
    """Of a stage on this connection."""
    store = store or JetStreamStore(connection)
    return Resources(settings or Settings(), connection, store, presence or Presence("here", "test"))
