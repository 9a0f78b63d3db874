"""What a stage is, and what it is given."""

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
    """A message of the inbox as it came, for intake: the only stage whose input is not one of ours."""

    job: str  # for a submission; an upload makes the id of its own, see topology.upload_job_id
    subject: str
    data: bytes


class Stage(Protocol):
    """One step of the way. It neither acks nor publishes: the worker does, with what `process` yields.

    `process` ends in one of three ways. It returns: the message is done. It raises Retry: the message comes
    again later. It raises Reject: the message is given up and becomes a dead letter. Any other exception counts
    as Retry. A message may come more than once; processing it again must be harmless.
    """

    row: StageRow  # as the topology has it, narrowed to what this machine can do

    def process(self, message: Any) -> AsyncGenerator[Message]:
        """Do the work for `message`, yielding what is to be published, in order."""
        ...

    async def close(self) -> None: ...


def load_stage(name: str, resources: Resources) -> Stage:
    """Make the stage called `name`: the class of that name in the module `stages.<name>`."""
    stage_row(name)  # names those there are, where this is none
    stage: Stage = getattr(import_module(f"stages.{name}"), name.capitalize())(resources)
    return stage
