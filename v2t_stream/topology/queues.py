"""The queues of the stages: what waits in each, what is in work, and whether it is paused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import INBOX

_FOR_GOOD: Final = timedelta(days=3650)  # a pause has an end in JetStream (ADR-49); nobody waits for this one


class Queue(NamedTuple):
    """One consumer as the server counts it."""

    name: str  # of the consumer: intake, transcribe-cpu …
    stage: str
    stream: str
    waiting: int  # messages nobody has taken yet
    in_work: int  # messages with a worker, or given back and waiting for their delay
    redelivered: int  # of those in work, delivered more than once
    pulling: int  # processes that ask for the next one
    oldest: float | None  # Unix seconds when the oldest message that is not done was stored
    paused: bool

    @property
    def accelerator(self) -> str:
        """Whom a queue of chunks is for; empty for the other stages."""
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


async def pause(connection: Connection, name: str) -> None:
    """Let nothing be taken from a queue until `resume`; what is in work goes on. Raises V2TError."""
    until = (datetime.now(UTC) + _FOR_GOOD).isoformat().replace("+00:00", "Z")
    await connection.api(f"CONSUMER.PAUSE.{_stream(name)}.{name}", {"pause_until": until})


async def resume(connection: Connection, name: str) -> None:
    """Let it be taken from again; of one that is not paused nothing changes. Raises V2TError."""
    await connection.api(f"CONSUMER.PAUSE.{_stream(name)}.{name}")


def _stream(name: str) -> str:
    """The stream of a queue; raises V2TError naming those there are."""
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
    """When the first message behind all that is acked was stored."""
    if stream == INBOX:  # it holds nothing else, and what people send is for workers only
        state = (await connection.api(f"STREAM.INFO.{INBOX}"))["state"]
        return datetime.fromisoformat(state["first_ts"]).timestamp() if state["messages"] else None
    after = info["ack_floor"]["stream_seq"]
    times = [await _stored_at(connection, stream, pattern, after + 1) for pattern in filters]
    return min((at for at in times if at is not None), default=None)


async def _stored_at(connection: Connection, stream: str, pattern: str, start: int) -> float | None:
    """When the first message on `pattern` from sequence `start` on was stored, in Unix seconds."""
    answer = await connection.find(f"STREAM.MSG.GET.{stream}", {"seq": start, "next_by_subj": pattern})
    # Where there is none, it was done meanwhile.
    return datetime.fromisoformat(answer["message"]["time"]).timestamp() if answer else None
