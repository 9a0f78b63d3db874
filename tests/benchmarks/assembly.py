"""How long a very long transcript takes once its last chunk is done, and how much memory."""

import asyncio
import random
import statistics
import time
from pathlib import Path

import msgspec

from schemas.events import ChunkDone, Completed, Converted, Downloaded, Submitted
from schemas.options import Options
from schemas.transcript import Segment, Transcript
from tests.benchmarks.processes import memory
from tests.benchmarks.report import Row, load, say, spread
from tests.harness import Node, broker, node, reference
from v2t_stream.broker.connection import Connection
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import JOBS

CHUNKS = 10_000
SECONDS = 30.0  # of media in a chunk
SEGMENTS = 5  # in a chunk
WORDS = 15  # in a segment
TIMES = 3
_AT_ONCE = 64
_MB = 1_000_000
_SPEECH = reference("3min.ogg").split()


async def run(folder: Path) -> list[Row]:
    """Each time with a fresh process, which has seen every chunk arrive as it would in life."""
    took: list[float] = []
    most: list[float] = []
    growth: list[float] = []
    async with broker(folder / "assembly-nats") as (server, connection):
        for turn in range(TIMES):
            with node(server.url, folder / f"assembly-{turn}", "aggregate") as machine:
                await _idle(connection)
                before = memory(machine.pid("aggregate"), "VmRSS") / _MB
                took.append(await _last_of(connection, f"assembly{turn}", machine))
                most.append(memory(machine.pid("aggregate"), "VmHWM") / _MB)
                growth.append(most[-1] - before)
            say(f"  {took[-1]:.2f} s, {most[-1]:.0f} MB, {growth[-1]:.0f} of them since its start [{load()}]")
    what = f"transcript of {CHUNKS:,} chunks ({CHUNKS * SECONDS / 3600:.0f} h, {CHUNKS * SEGMENTS:,} segments)"
    return [
        Row(
            f"{what}, from the last chunk's result until it is stored in all formats",
            "under 3 s",
            spread(took, ".2f"),
            statistics.median(took) < 3,
        ),
        Row(
            "… the most memory that aggregate ever held, all counted",
            "within 150 MB",
            f"{spread(most, '.0f', ' MB')}, {statistics.median(growth):.0f} of them more than at its start",
            statistics.median(most) <= 150,
        ),
    ]


async def _last_of(connection: Connection, job: str, machine: Node) -> float:
    """Seconds from the last fact of a job to its completion."""
    options = Options(language="en")
    await connection.publish(Submitted(job=job, title=job, url="http://127.0.0.1/", options=options))
    await connection.publish(Downloaded(job=job, title=job, source=job, media=f"media/{job}/x", size=1, seconds=0))
    total = CHUNKS * SECONDS
    await connection.publish(Converted(job=job, chunks=CHUNKS, duration=total, speech=total, seconds=0))
    chance = random.Random(job)
    places = asyncio.Semaphore(_AT_ONCE)

    async def put(n: int) -> None:
        async with places:
            await connection.publish(_chunk(job, n, chance))

    await asyncio.gather(*map(put, range(CHUNKS - 1)))
    await _idle(connection)
    completed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def heard(_: object) -> None:
        if not completed.done():
            completed.set_result(time.perf_counter())

    subscription = await connection.client.subscribe(Completed.subject_of(job=job), cb=heard)
    await connection.client.flush()
    begun = time.perf_counter()
    await put(CHUNKS - 1)
    async with asyncio.timeout(120):
        took = await completed - begun
    await subscription.unsubscribe()
    data = await JetStreamStore(connection).get(f"transcripts/{job}/transcript.json")
    found = len(msgspec.json.decode(data, type=Transcript).segments)
    if found != CHUNKS * SEGMENTS:
        raise RuntimeError(f"{found} segments of {CHUNKS * SEGMENTS}: {machine.log('aggregate')[-2000:]}")
    return took


def _chunk(job: str, n: int, chance: random.Random) -> ChunkDone:
    length = SECONDS / SEGMENTS
    start = n * SECONDS
    return ChunkDone(
        job=job,
        n=n,
        start=start,
        end=start + SECONDS,
        segments=tuple(
            Segment(
                start=round(start + place * length + chance.random(), 3),
                end=round(start + (place + 1) * length - chance.random(), 3),
                text=" ".join(chance.choices(_SPEECH, k=WORDS)),
            )
            for place in range(SEGMENTS)
        ),
        language="en",
        engine="faster-whisper",
        model="small",
        node="m4",
        seconds=1.0,
    )


async def _idle(connection: Connection) -> None:
    """Until the aggregator waits for work and has nothing in hand."""
    while True:
        info = await connection.api(f"CONSUMER.INFO.{JOBS}.aggregate")
        if info["num_waiting"] and not info["num_pending"] and not info["num_ack_pending"]:
            return
        await asyncio.sleep(0.1)
