"""What a stage is, and what it works with."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from schemas.message import Message
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import Presence
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.stages import StageRow, stage_row


@dataclass(frozen=True)
class Resources:
    """What every stage works with."""

    settings: Settings
    connection: Connection
    store: ObjectStore
    presence: Presence


class Submission(NamedTuple):
    """A raw message of the inbox, for intake: the only stage whose input is not one of our messages."""

    job: str  # for a submission; an upload makes its own id, see topology.upload_job_id
    subject: str
    data: bytes


class Stage(Protocol):
    """One step of the pipeline. It neither acks nor publishes: the worker does, with what `process` yields.

    The worker stores what a stage yields before it resumes the stage; only the chunks of a long job, and what follows
    them, may have to wait for their turn. The `yield` returns whether the message counts: False if another message
    stands in its place, or this one from an earlier delivery. If the job's run has ended, the stage is not resumed.

    `process` ends in one of three ways. It returns: the message is done. It raises Retry: the message comes
    again later. It raises Reject: the message is given up and becomes a dead letter. Any other exception counts
    as Retry. A message may come more than once; processing it again must be harmless.
    """

    row: StageRow  # from the topology, narrowed to what this machine can do

    def process(self, message: Any) -> AsyncGenerator[Message, bool | None]:
        """Do the work for `message`, and yield what to publish, in order."""
        ...

    async def close(self) -> None: ...


def load_stage(name: str, resources: Resources) -> Stage:
    """Make the stage `name`: the class of that name in the module `stages.<name>`."""
    stage_row(name)  # for an unknown name, the error lists the known ones
    stage: Stage = getattr(import_module(f"stages.{name}"), name.capitalize())(resources)
    return stage
