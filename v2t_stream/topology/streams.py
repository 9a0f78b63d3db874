"""Every wire name and every stream, consumer and stage, in one table; `provision` creates what is declared here.

A new stage is one file in `stages/` and one row in STAGES.
"""

import hashlib
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from schemas.chunks import ChunkTask
from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Done,
    Downloaded,
    Event,
    Failed,
    Language,
    Listed,
    Progress,
    Rerun,
    Retried,
    Submitted,
    Tries,
)
from schemas.message import Message, decode_as
from schemas.notification import Upload
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.direct_get import STORED
from v2t_stream.broker.lineage import epoch_of
from v2t_stream.errors import BrokerError

SUBMIT_SUBJECT: Final = "v2t.submit"
BUCKET_SUBJECT: Final = "v2t.bucket"  # where MinIO announces uploads
INBOX_SUBJECTS: Final = (SUBMIT_SUBJECT, BUCKET_SUBJECT)

INBOX: Final = "V2T_INBOX"
JOBS: Final = "V2T_JOBS"
CHUNKS: Final = "V2T_CHUNKS"
DONE: Final = "V2T_DONE"
DEAD: Final = "V2T_DEAD"
NODES: Final = "KV_v2t_nodes"  # the stream of the key-value bucket v2t_nodes (ADR-8)

ACCELERATORS: Final = ("cuda", "metal", "coreml", "cpu", "remote", "any")

# To be raised with every change of STREAMS or STAGES that a broker must be told of: an older release then leaves alone
# what a newer one has set up.
LAYOUT: Final = 3

# In the metadata of the stream JOBS
STORE_KEY: Final = "v2t_store"  # what the jobs keep their files in
LAYOUT_KEY: Final = "v2t_layout"

EPOCH_HEADER: Final = "V2t-Epoch"  # of a submission: the epoch by which its sender knows the job

_NS: Final = 1_000_000_000

NODE_MAX_AGE: Final = 4  # seconds after which a silent process counts as gone
DEDUPE_WINDOW: Final = 120  # seconds in which the same submission makes one job

# How long what is in JOBS, DONE and DEAD stays is a setting: see provision.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    # What people send, untouched, until intake has taken it.
    INBOX: {
        "subjects": list(INBOX_SUBJECTS),
        "retention": "workqueue",
        "duplicate_window": DEDUPE_WINDOW * _NS,
        "max_msg_size": 64 << 10,  # a URL and a few words; a dead letter must hold it and its reason
    },
    # The facts of every job. The latest per subject is all there is to know, so a replay is short.
    JOBS: {
        "subjects": ["v2t.job.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        # Whoever follows hears of each fact once it is stored, and reads it: no consumer for each of them.
        "republish": {"src": "v2t.job.>", "dest": f"{STORED}job.>", "headers_only": True},
    },
    # The work of transcription. One message per subject and no overwriting: a chunk that waits cannot be queued twice.
    CHUNKS: {
        "subjects": ["v2t.chunk.>"],
        "retention": "workqueue",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "discard_new_per_subject": True,
    },
    # What was transcribed before: for each media and settings the latest job, for as long as transcripts stay.
    DONE: {
        "subjects": ["v2t.done.*"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
    },
    DEAD: {
        "subjects": ["v2t.dead.>"],
        "retention": "limits",
    },
    # Who is alive: each process writes its key every second; one that is gone is forgotten by age. In a file, though
    # it is worth nothing after a restart: a server that restarts has forgotten that a stream in memory ever was.
    NODES: {
        "subjects": ["$KV.v2t_nodes.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "max_age": NODE_MAX_AGE * _NS,
        "duplicate_window": NODE_MAX_AGE * _NS,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    },
}


class Consumer(NamedTuple):
    """A durable pull consumer on one stream."""

    durable: str
    filters: tuple[str, ...]
    # Name of the priority group; pulls then carry a rank, and the lowest rank that waits is served first.
    group: str | None = None


class StageRow(NamedTuple):
    """How one stage runs. The code is `stages.<name>`, found by name so that nothing imports it statically."""

    name: str
    stream: str
    consumers: tuple[Consumer, ...]
    results: tuple[type[Message], ...]  # once one of these facts stands for a message, it needs no more work
    ack_wait: float  # seconds without a sign of life until a message goes to another worker
    max_run: float  # seconds one message may take in all
    tries: int  # failures after which it is given up
    slots: int  # messages in work at once in one process; transcribe asks its engine instead


def any_run(kind: type[Message], **names: str) -> tuple[str, str]:
    """The subjects of such a message in the first run, and in the later ones."""
    return kind.subject_of(**names), kind.subject_of(run="*", **names)


_RERUN: Final = Rerun.subject_of(job="*", run="*")
_MEDIA: Final = (*any_run(Downloaded, job="*"), _RERUN)

STAGES: Final[tuple[StageRow, ...]] = (
    # So many slots that links find one where hundreds of uploads wait for a store that is away.
    StageRow("intake", INBOX, (Consumer("intake", INBOX_SUBJECTS),), (Submitted,), 30, 600, 5, 4096),
    StageRow(
        "download",
        JOBS,
        (Consumer("download", (Submitted.subject_of(job="*"), _RERUN)),),
        (Downloaded, Listed, Completed),
        30,
        6 * 3600,
        3,
        2,
    ),
    StageRow("convert", JOBS, (Consumer("convert", _MEDIA),), (Converted,), 30, 6 * 3600, 5, 4),
    StageRow(
        "transcribe",
        CHUNKS,
        tuple(
            Consumer(f"transcribe-{name}", (f"v2t.chunk.{name}.>",), "any" if name == "any" else None)
            for name in ACCELERATORS
        ),
        (ChunkDone,),
        30,
        1800,
        5,
        2,
    ),
    StageRow(
        "aggregate",
        JOBS,
        (Consumer("aggregate", (*any_run(ChunkDone, job="*", n="*"), *any_run(Converted, job="*"))),),
        (Completed,),
        30,
        600,
        10,
        256,
    ),
)

_FACTS: Final[dict[str, type[Event]]] = {
    kind.SUBJECT.split(".")[3]: kind
    for kind in (
        Submitted,
        Downloaded,
        Listed,
        Converted,
        Language,
        ChunkDone,
        Completed,
        Failed,
        Cancelled,
        Rerun,
        Retried,
        Progress,
        Tries,
    )
}


def stage_row(name: str) -> StageRow:
    """The row called `name`; raises BrokerError naming those that exist."""
    for row in STAGES:
        if row.name == name:
            return row
    raise BrokerError(f"unknown stage {name!r}: there are {', '.join(row.name for row in STAGES)}")


def message_type(subject: str) -> type[Message] | None:
    """What travels on `subject`; None for a subject of a newer release."""
    tokens = subject.split(".")
    match tokens[1:]:
        case ["chunk", *_]:
            return ChunkTask
        case ["job", _, fact, *_]:
            return _FACTS.get(fact)
        case ["done", _]:
            return Done
    return None


def decode(subject: str, data: bytes) -> Message | None:
    """The message on `subject`; None for a subject of a newer release. Raises msgspec.DecodeError.

    It is a ValidationError where the message is JSON that does not fit, or that belongs on another subject.
    """
    kind = message_type(subject)
    if kind is None:
        return None
    message = decode_as(kind, data)
    if message.subject != subject:
        raise msgspec.ValidationError(f"it belongs on {message.subject}")
    return message


def job_of(subject: str) -> str:
    """The job id in a fact's or a chunk's subject; empty where there is none."""
    tokens = subject.split(".")
    place = 3 if tokens[1:2] == ["chunk"] else 2
    return tokens[place] if len(tokens) > place else ""


def chunk_of(subject: str) -> int | None:
    """The number of the chunk in a chunk's subject; None where it is no chunk's."""
    match subject.split("."):
        case ["v2t", "chunk", _, _, n] | ["v2t", "chunk", _, _, n, _] if n.isascii() and n.isdecimal():
            return int(n)
    return None


def fact_of(name: str, job: str, run: int) -> str:
    """The subject of the fact called `name`, as in `converted`, in this run of the job."""
    return _FACTS[name].subject_of(job=job, run=run)


def run_of(subject: str) -> int:
    """The run of a job that a fact's or a chunk's subject belongs to."""
    kind, tokens = message_type(subject), subject.split(".")
    if kind is None or not tokens[-1].isdecimal():
        return 0
    is_named = kind is Rerun or (kind.BY_RUN and len(tokens) > len(kind.SUBJECT.split(".")))
    return int(tokens[-1]) if is_named else 0


def ends(job: str, run: int) -> list[str]:
    """The subjects of which one holds a fact when this run of the job has ended, the one that counts most first."""
    return [end.subject_of(job=job, run=run) for end in (Cancelled, Completed, Failed)]


def but_chunks(job: str = "*") -> list[str]:
    """Patterns of all facts of a job, or of all jobs, but for the results of chunks, which are most, and for Tries."""
    names = [name for name, kind in _FACTS.items() if kind not in (ChunkDone, Tries)]
    return [f"v2t.job.{job}.*", *(f"v2t.job.{job}.{name}.>" for name in names)]


def folder(job: str, run: int) -> str:
    """Where what is made for a run of a job lies, below media/ and transcripts/."""
    return f"{job}/{run}" if run else job


async def inbox_epoch(connection: Connection) -> str:
    """What sets this inbox apart from one made before or elsewhere: the second it was created, in base 36.

    Of one that was rolled back, the second in which that was noticed: see v2t_stream.topology.epochs.
    """
    info = await connection.api(f"STREAM.INFO.{INBOX}")
    return epoch_of(info) or base36(int(datetime.fromisoformat(info["created"]).timestamp()))


def job_id(epoch: str, sequence: int) -> str:
    """The id of the job made by the inbox's message number `sequence`.

    Sender and intake both derive it, so an id is known the moment a submission is stored, the same submission
    sent twice has the same one, and a message delivered to intake twice makes one job.
    """
    return f"{epoch}-{base36(sequence)}"


def child_id(parent: str, n: int) -> str:
    """The id of the job of a list's entry `n`, from 1: however often the list is read, each has one job."""
    return f"{parent}_{n}"


def place_of(job: str) -> tuple[str, int]:
    """The job whose list `job` is an entry of, and its place there, from 1; `job` itself and 0 where it is none."""
    parent, _, n = job.rpartition("_")
    is_place = n.isdecimal() and int(n) > 0 and child_id(parent, int(n)) == job
    return (parent, int(n)) if parent and is_place else (job, 0)


def upload_job_id(upload: Upload, again: int = 0) -> str:
    """The id of the job made by one version of an uploaded object.

    However often and after whatever time it is announced or listed, it is the same job. `again`: how many times it had
    been replaced before its job could read it, and came back.
    """
    named = (upload.bucket, upload.key, upload.etag, upload.version, *((again,) if again else ()))
    digest = hashlib.sha256(msgspec.json.encode(named)).digest()
    return f"up-{base36(int.from_bytes(digest[:12], 'big'))}"


def base36(number: int) -> str:
    """A number from 0 in the digits and letters that make ids."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
