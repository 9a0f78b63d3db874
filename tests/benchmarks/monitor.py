"""How soon the monitor answers a key while it shows 10,000 jobs and 1,000 facts a second, and what memory it takes."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from schemas.events import ChunkDone, Completed, Converted, Downloaded, Progress, Submitted
from schemas.message import Message, encode
from schemas.options import Options
from schemas.transcript import Segment
from tests.benchmarks.processes import memory
from tests.benchmarks.report import Row, load, say
from tests.harness import Server
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings

JOBS: Final = 10_000
RUNNING: Final = 200  # of them
CHUNKS: Final = 50  # of each
RATE: Final = 1_000  # facts a second
KEYS: Final = 200
SOAK: Final = 100_000  # facts
_SIZE: Final = (50, 160)  # lines and columns
_BEHIND: Final = 500  # facts that may be on their way while many are sent
_MB: Final = 1_000_000
_CURSOR: Final = "48;2;45;57;85"  # what a terminal is told of the row with the cursor


async def run(folder: Path) -> list[Row]:
    async with _broker(folder / "monitor-nats") as (server, connection):
        await _history(connection)
        begun = time.perf_counter()
        async with terminal(server.url, folder) as screen:
            await screen.until(rf"all {JOBS}\b")
            joined = time.perf_counter() - begun
            idle = await _keys(screen)
            loading = asyncio.create_task(_load(connection))
            busy = await _keys(screen)
            loading.cancel()
            say(f"  {_told(busy)} [{load()}]")
            before = memory(screen.pid, "VmRSS") / _MB
            half = await _soak(connection, screen, SOAK // 2)
            after = await _soak(connection, screen, SOAK // 2)
    percentile = statistics.quantiles(busy, n=100)[98]
    return [
        Row(f"monitor, {JOBS:,} jobs: from its start until all are shown", "", f"{joined:.1f} s"),
        Row("… from a key until the screen answers, nothing else going on", "", _told(idle)),
        Row(f"… the same at {RATE:,} facts a second", "99th percentile within 100 ms", _told(busy), percentile <= 0.1),
        Row(
            f"… its memory before, after {SOAK // 2:,} and after {SOAK:,} facts",
            "flat: at most 10 MB more in the second half",
            f"{before:.0f}, {half:.0f} and {after:.0f} MB",
            after - half <= 10,
        ),
    ]


def _told(seconds: list[float]) -> str:
    hundredths = statistics.quantiles(seconds, n=100)
    p50, p99, most = (f"{1000 * value:.0f}" for value in (hundredths[49], hundredths[98], max(seconds)))
    return f"{p50} ms in the median, 99th percentile {p99} ms, at most {most} ms of {len(seconds)}"


# -- the terminal


class Terminal:
    """A monitor in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.pid = process.pid
        self._master = master
        self._shown = bytearray()
        self._more = asyncio.Event()
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                self._shown += os.read(self._master, 1 << 20)
            except OSError:  # it ended
                asyncio.get_running_loop().remove_reader(self._master)
            self._more.set()

    def press(self, keys: bytes) -> None:
        self._shown.clear()
        os.write(self._master, keys)

    async def until(self, pattern: str, timeout: float = 60) -> re.Match[bytes]:
        """Until something was written since the last key that matches."""
        wanted = re.compile(pattern.encode())
        try:
            async with asyncio.timeout(timeout):
                while not (found := wanted.search(self._shown)):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise TimeoutError(f"{pattern!r} is not shown, but {bytes(self._shown[-2000:])!r}") from None
        return found


@contextlib.asynccontextmanager
async def terminal(url: str, home: Path) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "v2t_stream", "tui"],
        env={**os.environ, "NATS_URL": url, "V2T_DATA_DIR": str(home), "TERM": "xterm", "COLORTERM": "truecolor"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        asyncio.get_running_loop().remove_reader(master)
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(master)


async def _keys(screen: Terminal) -> list[float]:
    """Seconds until the cursor stands on the next job, for each of many presses of an arrow."""
    took = []
    chance = random.Random(1)
    screen.press(b"o")  # by state, so that no row changes its place
    await screen.until("state")
    screen.press(b"\x1b[H")
    await asyncio.sleep(0.5)
    for _ in range(KEYS):
        await asyncio.sleep(0.05 + chance.random() / 10)
        begun = time.perf_counter()
        screen.press(b"\x1b[B")
        await screen.until(rf"{_CURSOR}m[^\x1b]*job \d+")
        took.append(time.perf_counter() - begun)
    return took


# -- the facts


@contextlib.asynccontextmanager
async def _broker(folder: Path) -> AsyncIterator[tuple[Server, Connection]]:
    """One that does not wait for its disk with each fact: what is measured reads."""
    server = Server(folder, f"jetstream {{ store_dir: {json.dumps(str(folder))} }}", jetstream=False)
    server.start()
    try:
        async with await connect(server.url, name="benchmark") as connection:
            await set_up(connection, Settings())
            yield server, connection
    finally:
        server.stop()


async def _history(connection: Connection) -> None:
    """Many jobs that are completed, and some that run."""
    say(f"  {JOBS:,} jobs …")
    for start in range(0, JOBS, 500):
        for n in range(start, start + 500):
            for fact in _facts(n):
                await connection.client.publish(fact.subject, encode(fact))
        await connection.client.flush()
    while (await connection.api("STREAM.INFO.V2T_JOBS"))["state"]["messages"] < 5 * JOBS - 2 * RUNNING:
        await asyncio.sleep(0.1)


def _facts(n: int) -> Iterator[Message]:
    job, title = _job(n), f"job {n:05}"
    yield Submitted(job=job, title=title, url=f"http://127.0.0.1/{n}.mp3", options=Options(language="en"))
    yield Downloaded(
        job=job, title=title, source=f"http://127.0.0.1/{n}.mp3", media=f"media/{job}/x", size=1, seconds=1
    )
    yield Progress(job=job, stage="convert", done=1500, total=1500, chunks=CHUNKS)
    if n >= RUNNING:
        yield Converted(job=job, chunks=CHUNKS, duration=1500, speech=1400, seconds=3)
        yield Completed(job=job, transcript=f"transcripts/{job}/transcript", language="en", segments=9)


def _job(n: int) -> str:
    return f"bench-{n:05}"


def _live(chance: random.Random) -> Message:
    """What comes of a job that runs: a result, or progress."""
    job, n = _job(chance.randrange(RUNNING)), chance.randrange(CHUNKS)
    if chance.random() < 0.5:
        return Progress(job=job, stage="convert", done=30.0 * n, total=1500, chunks=CHUNKS)
    words = tuple(Segment(start=30.0 * n + 6 * at, end=30.0 * n + 6 * at + 5, text="words " * 15) for at in range(5))
    return ChunkDone(job=job, n=n, start=30.0 * n, end=30.0 * n + 30, segments=words, node="m4", seconds=1.0)


async def _load(connection: Connection) -> None:
    """Facts at RATE until cancelled."""
    chance = random.Random(2)
    begun, sent = time.perf_counter(), 0
    while True:
        due = int((time.perf_counter() - begun) * RATE)
        for _ in range(due - sent):
            fact = _live(chance)
            await connection.client.publish(fact.subject, encode(fact))
        sent = due
        await asyncio.sleep(0.005)


async def _soak(connection: Connection, screen: Terminal, facts: int) -> float:
    """The monitor's memory after so many facts more, in MB, once it has seen them all."""
    chance = random.Random(facts)
    for start in range(0, facts, _BEHIND):
        for _ in range(_BEHIND):
            fact = _live(chance)
            await connection.client.publish(fact.subject, encode(fact))
        await connection.client.flush()
        await _seen(connection, _BEHIND)
        if start % 10_000 == 0:
            say(f"  {start:,} facts, {memory(screen.pid, 'VmRSS') / _MB:.0f} MB")
    await _seen(connection, 0)
    return memory(screen.pid, "VmRSS") / _MB


async def _seen(connection: Connection, behind: int) -> None:
    """Until no reader has more than so many facts to come."""
    while True:
        listed = await connection.api("CONSUMER.LIST.V2T_JOBS")
        pending = [info["num_pending"] for info in listed["consumers"] if not info["config"].get("durable_name")]
        if max(pending, default=0) <= behind:
            return
        await asyncio.sleep(0.02)
