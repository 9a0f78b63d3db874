"""The stages: what each takes, and how long it may take. A new stage is a row here and a file in `stages/`."""

from typing import Final, NamedTuple, get_args

from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Downloaded,
    Failed,
    Listed,
    Rerun,
    Submitted,
)
from schemas.hooks import Notify
from schemas.message import Message
from schemas.options import Accelerator
from v2t_stream.errors import BrokerError
from v2t_stream.topology.streams import CHUNKS, INBOX, JOBS
from v2t_stream.topology.subjects import INBOX_SUBJECTS, any_run, tasks_of


class Consumer(NamedTuple):
    """A durable pull consumer on one stream."""

    durable: str
    filters: tuple[str, ...]
    # Name of the priority group; pulls then carry a rank, and the waiting pull with the lowest rank is served first.
    group: str | None = None
    pending: int = 10_000  # messages that may be in hand, or wait for another try
    is_new_only: bool = False  # what is older than the consumer is not for it


class StageRow(NamedTuple):
    """How one stage runs. Its code is `stages.<name>`, found by name so that nothing imports it statically."""

    name: str
    stream: str
    consumers: tuple[Consumer, ...]
    results: tuple[type[Message], ...]  # a message with one of these facts needs no more work
    ack_wait: float  # seconds without a sign of life until a message goes to another worker
    max_run: float  # seconds that one message may take in total
    tries: int  # failures until the message is given up
    slots: int  # messages at once in one process; transcribe asks its engine instead

    @property
    def does(self) -> str:
        """For people who look at its consumers, as `nats consumer ls` shows them."""
        return _DOES.get(self.name, f"the stage {self.name}")


_RERUN: Final = Rerun.subject_of(job="*", run="*")
_MEDIA: Final = (*any_run(Downloaded, job="*"), _RERUN)


STAGES: Final[tuple[StageRow, ...]] = (
    # Enough slots for links even while hundreds of uploads wait for a store that is away.
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
            Consumer(f"transcribe-{name}", (tasks_of(name),), "any" if name == "any" else None)
            for name in get_args(Accelerator)  # "any" last: a node that pulls from several waits on the last
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

# What `v2t serve` does besides: it is no stage of nodes, and takes jobs that have ended.
NOTIFY: Final = StageRow(
    "notify",
    JOBS,
    (
        Consumer(
            "notify",
            (
                *any_run(Completed, job="*"),
                *any_run(Failed, job="*"),
                Cancelled.subject_of(job="*"),
                Notify.subject_of(job="*"),
            ),
            pending=1_000_000,  # a receiver that is away for a day must not keep the others from hearing
            is_new_only=True,
        ),
    ),
    (),
    30,
    600,
    20,
    64,
)

# Every row whose consumers the broker has.
ROWS: Final = (*STAGES, NOTIFY)

_DOES: Final = {
    "intake": "intake: checks what people send, and begins its job",
    "download": "download: fetches the media at a link",
    "convert": "convert: decodes media and cuts it into chunks of speech",
    "transcribe": "transcribe: writes down what is said in a chunk",
    "notify": "webhooks: tells receivers that a job has ended",
    "aggregate": "aggregate: puts the transcript together and stores it",
}


def stage_row(name: str) -> StageRow:
    """The row called `name`; raises BrokerError naming those that exist."""
    for row in STAGES:
        if row.name == name:
            return row
    raise BrokerError(f"unknown stage {name!r}: use one of {', '.join(row.name for row in STAGES)}")
