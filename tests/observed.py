"""Watches a job through faults, and checks it afterwards."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from schemas.requests import SubmitRequest
from schemas.transcript import Segment, Transcript
from tests.harness import Node
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError
from v2t_stream.host.tasks import end
from v2t_stream.jobs.state import fold
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import pause, resume
from v2t_stream.topology.stages import STAGES, stage_row
from v2t_stream.topology.streams import JOBS

ACK_WAIT: Final = 2.0  # seconds; the product's 30 would only make the tests long
NOISE: Final = ("Traceback", "never retrieved", "was destroyed", "Warning:", "never awaited", '"message":"unexpected')


async def hasten(connection: Connection) -> None:
    """Let the server redeliver a killed process's messages after ACK_WAIT, which workers read from the server."""
    for row in STAGES:
        for consumer in row.consumers:
            name = f"{row.stream}.{consumer.durable}"
            config = (await connection.api(f"CONSUMER.INFO.{name}"))["config"]
            config["ack_wait"] = int(ACK_WAIT * 1e9)
            await connection.api(f"CONSUMER.CREATE.{name}", {"stream_name": row.stream, "config": config})


async def pulled(puller: Puller) -> Msg:
    """The next message, even if it takes so long that the puller believes the server is gone."""
    async with asyncio.timeout(PATIENCE):
        while not (message := await puller.next(PATIENCE)):
            pass  # it waits before it gives None
    return message


async def resumed(connection: Connection, queue: str) -> None:
    """Resume a queue, even if the broker was just struck and does not answer reliably yet."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(BrokerError):
                await resume(connection, queue)
                return
            await asyncio.sleep(0.1)


async def pulled_by(connection: Connection, stage: str, count: int) -> None:
    """Wait until `count` processes wait for the stage's next message."""
    await _until(connection, stage, lambda info: info["num_waiting"] == count)


async def killed(connection: Connection, stage: str, *machines: Node) -> None:
    """Kill -9 the machines' processes of the stage, and wait until the server has dropped their requests."""
    for machine in machines:
        machine.kill(stage)
    await pulled_by(connection, stage, 0)


async def in_hand(connection: Connection, stage: str, *machines: Node) -> None:
    """Start the machines' processes of the stage and stop them (SIGSTOP), each with work waiting for it.

    The queue is paused while they start: the server keeps their requests, for at most 30 s. If that was too short for
    one of them, all go on and are stopped again.
    """
    queue = stage_row(stage).consumers[-1].durable
    await pause(connection, queue)
    for machine in machines:
        machine.start(stage)
    async with asyncio.timeout(PATIENCE):
        while True:
            await pulled_by(connection, stage, len(machines))
            for machine in machines:
                machine.signal(stage, signal.SIGSTOP)
            await resume(connection, queue)
            info = await _until(
                connection,
                stage,
                lambda info: info["num_ack_pending"] >= len(machines) or not info["num_waiting"],
            )
            if info["num_ack_pending"] >= len(machines):
                return
            await pause(connection, queue)
            for machine in machines:
                machine.signal(stage, signal.SIGCONT)


async def _until(connection: Connection, stage: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state of the stage's queue when it is so."""
    row = stage_row(stage)
    async with asyncio.timeout(PATIENCE):
        while not holds(info := await connection.api(f"CONSUMER.INFO.{row.stream}.{row.consumers[-1].durable}")):
            await asyncio.sleep(0.01)
    return info


async def record(connection: Connection, job_id: str) -> Transcript:
    data = await JetStreamStore(connection).get(f"transcripts/{job_id}/transcript.json")
    return msgspec.json.decode(data, type=Transcript)


class Observed:
    """All facts of one job, in the order they came."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self.id = job_id
        self._connection = connection
        self._seen: list[Stored] = []
        self._more = asyncio.Condition()

    async def watch(self) -> None:
        async for stored in self._connection.watch(JOBS, f"v2t.job.{self.id}.>"):
            if stored:
                async with self._more:
                    self._seen.append(stored)
                    self._more.notify_all()

    def count(self, fact: str) -> int:
        return len([stored for stored in self._seen if stored.subject == f"v2t.job.{self.id}.{fact}"])

    async def until(self, fact: str) -> None:
        """Wait for the fact."""
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: self.count(fact))

    async def completes_as(self, segments: tuple[Segment, ...]) -> None:
        """Check that the job completes once, with these segments and no gap, and each chunk was done once."""
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: fold(self.id, self._seen).ended)
        job = fold(self.id, self._seen)
        assert job.state == "completed", job.reason
        transcript = await record(self._connection, self.id)
        assert transcript.segments == segments
        assert transcript.gaps == ()
        assert job.converted
        facts = ["submitted", "downloaded", "converted", "completed"]
        facts += [f"chunk.{n}" for n in range(job.converted.chunks)]
        assert {fact: self.count(fact) for fact in facts} == dict.fromkeys(facts, 1)


@contextlib.asynccontextmanager
async def observed(connection: Connection, request: SubmitRequest) -> AsyncIterator[Observed]:
    job_id, _ = await submit(connection, request)
    job = Observed(connection, job_id)
    watching = asyncio.create_task(job.watch())
    try:
        yield job
    finally:
        await end(watching)
        if not watching.cancelled():
            watching.result()  # an error ended it
