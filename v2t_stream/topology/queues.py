"""The queues of the stages: what waits, what is in progress, and which are paused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import INBOX

_FOR_GOOD: Final = timedelta(days=3650)  # a JetStream pause needs an end (ADR-49); ten years


class Queue(NamedTuple):
    """One consumer by the server's counts."""

    name: str  # the consumer's: intake, transcribe-cpu …
    stage: str
    stream: str
    waiting: int  # messages that nobody has taken yet
    in_work: int  # messages that a worker has, or that wait for their next try
    redelivered: int  # those of them that were delivered more than once
    pulling: int  # processes that ask for the next one
    oldest: float | None  # Unix seconds when the oldest unfinished message was stored
    paused: bool

    @property
    def accelerator(self) -> str:
        """The accelerator of a queue of chunks; empty for the other stages."""
        return self.name.partition("-")[2]


async def queues(connection: Connection) -> list[Queue]:
    """All queues, in the order of the stages. Raises BrokerError."""
    names = [(row.name, row.stream, consumer) for row in STAGES for consumer in row.consumers]
    return list(
        await asyncio.gather(
            *(
                _queue(connection, stage, stream, consumer.durable, consumer.filters)
                for stage, stream, consumer in names
            )
        )
    )


async def paused(connection: Connection) -> set[str]:
    """The names of the paused queues. Raises BrokerError."""
    names = [(row.stream, consumer.durable) for row in STAGES for consumer in row.consumers]
    infos = await asyncio.gather(*(connection.api(f"CONSUMER.INFO.{stream}.{name}") for stream, name in names))
    return {name for (_, name), info in zip(names, infos, strict=True) if info.get("paused")}


async def pause(connection: Connection, name: str) -> None:
    """Hand out no messages of a queue until `resume`; work in progress goes on. Raises V2TError."""
    until = (datetime.now(UTC) + _FOR_GOOD).isoformat().replace("+00:00", "Z")
    await connection.api(f"CONSUMER.PAUSE.{_stream(name)}.{name}", {"pause_until": until})


async def resume(connection: Connection, name: str) -> None:
    """Hand out messages again; does nothing to a queue that is not paused. Raises V2TError."""
    await connection.api(f"CONSUMER.PAUSE.{_stream(name)}.{name}")


def _stream(name: str) -> str:
    """The stream of a queue; raises V2TError with the known queues."""
    streams = {consumer.durable: row.stream for row in STAGES for consumer in row.consumers}
    if name not in streams:
        raise V2TError(f"unknown queue {name!r}: use one of {', '.join(streams)}")
    return streams[name]


async def _queue(connection: Connection, stage: str, stream: str, name: str, filters: tuple[str, ...]) -> Queue:
    info = await connection.api(f"CONSUMER.INFO.{stream}.{name}")
    waiting, in_work = info["num_pending"], info["num_ack_pending"]
    oldest = await _oldest(connection, stream, filters, info) if waiting or in_work else None
    return Queue(
        name,
        stage,
        stream,
        waiting,
        in_work,
        info["num_redelivered"],
        info["num_waiting"],
        oldest,
        info.get("paused", False),
    )


async def _oldest(connection: Connection, stream: str, filters: tuple[str, ...], info: dict[str, Any]) -> float | None:
    """When the first message after all acked ones was stored."""
    if stream == INBOX:  # only workers may read submissions, and the stream holds nothing else
        state = (await connection.api(f"STREAM.INFO.{INBOX}"))["state"]
        return datetime.fromisoformat(state["first_ts"]).timestamp() if state["messages"] else None
    after = info["ack_floor"]["stream_seq"]
    times = [await _stored_at(connection, stream, pattern, after + 1) for pattern in filters]
    return min((at for at in times if at is not None), default=None)


async def _stored_at(connection: Connection, stream: str, pattern: str, start: int) -> float | None:
    """When the first message on `pattern` from sequence `start` on was stored, in Unix seconds."""
    answer = await connection.find(f"STREAM.MSG.GET.{stream}", {"seq": start, "next_by_subj": pattern})
    # None: the message was done meanwhile.
    return datetime.fromisoformat(answer["message"]["time"]).timestamp() if answer else None
