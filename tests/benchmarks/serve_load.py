"""What 200 clients and 500 listeners get of `v2t serve` while jobs run, with 20,000 jobs in its history."""

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import count, islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.events import Language, Progress
from schemas.message import Message
from schemas.requests import SubmitRequest
from tests import builders
from tests.benchmarks.processes import memory
from tests.benchmarks.report import Row, say
from tests.harness import DATA, alive, broker, ended, node, upload
from tests.serving import serving
from tests.simulated import install
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit

_HISTORY: Final = 20_000  # jobs
_CLIENTS: Final = 200
_LISTENERS: Final = 500  # half of them to all jobs, half to one of the running ones
_RUNNING: Final = 10  # jobs
_TARGET: Final = 0.1  # seconds
_MIB: Final = 1 << 20


async def run(folder: Path) -> list[Row]:
    async with broker(folder / "nats") as (server, connection):
        await _publish(connection, (fact for n in range(_HISTORY) for fact in _past(f"past-{n}")))
        environment = {**install(folder / "simulated"), "V2T_MODEL": "x60", "V2T_NODE": "one"}
        with (
            node(server.url, folder / "home", **environment),
            serving(server.url, folder / "serve") as serve,
        ):
            await alive(connection)
            begun = time.perf_counter()
            target = _Target(serve.url)
            await target.get("/v1/jobs?limit=1")
            ready = time.perf_counter() - begun
            load = _Load(target, connection, serve.process.pid)
            return [
                Row(f"from the start until {_HISTORY:,} jobs are known", "none", f"{ready:.1f} s"),
                *await load.run(),
            ]


def _past(job: str) -> list[Message]:
    """Facts that no stage takes, so that the stages have no work with them."""
    return [
        *(Progress(job=job, stage=stage, done=1.0, total=1.0, chunks=6) for stage in ("download", "convert")),
        Language(job=job, language="en"),
        builders.completed(job, title=f"talk {job}", duration=180.0),
    ]


async def _publish(connection: Connection, facts: Iterable[Message]) -> None:
    say(f"storing {_HISTORY:,} jobs …")
    left = iter(facts)
    while some := list(islice(left, 500)):
        await asyncio.gather(*map(connection.publish, some))


class _Target:
    """The server, asked over plain sockets, because a client library takes longer than the server."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    async def get(self, path: str) -> dict[str, Any]:
        reader, writer = await self.connect()
        status, body = await self.ask(reader, writer, path)
        writer.close()
        assert status == 200, body
        return dict(json.loads(body))

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        return int(head.split()[1]), await reader.readexactly(int(length.partition(":")[2]))

    async def events(self, path: str) -> AsyncIterator[tuple[str, bytes]]:
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        kind = ""
        async for line in reader:  # chunks are parted by lines of their own
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                yield kind, line[6:]
        writer.close()


class _Load:
    def __init__(self, target: _Target, connection: Connection, pid: int) -> None:
        self._target = target
        self._connection = connection
        self._pid = pid
        self._jobs: list[str] = []
        self._heard: Counter[str] = Counter()  # chunks, by job, of all its listeners
        self._listening: Counter[str] = Counter()  # listeners by job
        self._changes = 0
        self._failed = 0

    async def run(self) -> list[Row]:
        media = await upload(self._connection, DATA / "3min.ogg")
        wish = SubmitRequest(media=media, language="en", force=True)
        self._jobs = [(await submit(self._connection, wish))[0] for _ in range(_RUNNING)]
        paths = [f"/v1/jobs/{id_}" for id_ in (*self._jobs, *(f"past-{n}" for n in range(_HISTORY - 90, _HISTORY)))]
        listeners = [asyncio.create_task(self._listen(n)) for n in range(_LISTENERS)]
        await asyncio.sleep(2)
        say("asking …")
        before = memory(self._pid, "VmRSS")
        first = await self._ask(paths, seconds=0.5, pause=1.0)
        polled = await self._ask(paths, seconds=10, pause=1.0)
        at_once = await self._ask(paths, seconds=10, pause=0.0)
        say(f"{_row('polled', polled)} {_row('at once', at_once)}")
        listed = await self._ask(["/v1/jobs?limit=50"], seconds=5, pause=1.0)
        for job in self._jobs:
            await ended(self._connection, job, patience=300)
        await asyncio.wait(listeners[1::2], timeout=30)
        held = memory(self._pid, "VmRSS")
        lost = await self._lost()
        for listener in listeners:
            listener.cancel()
        return [
            _row(f"GET /v1/jobs/ID, the first time that anybody looks at {len(paths)} jobs", first, target=None),
            _row(f"GET /v1/jobs/ID, {_CLIENTS} clients, each once a second", polled),
            _row(f"GET /v1/jobs/ID, {_CLIENTS} clients, each at once again", at_once),
            _row(f"GET /v1/jobs, {_CLIENTS} clients, each once a second", listed, target=None),
            Row("requests that failed", "none", f"{self._failed}", ok=not self._failed),
            Row(f"chunks lost by {_LISTENERS // 2} listeners to jobs", "none", f"{lost}", ok=not lost),
            Row(f"changes told to {_LISTENERS // 2} listeners to all jobs", "", f"{self._changes:,}"),
            Row("memory at the beginning and the end", "flat", f"{before // _MIB} and {held // _MIB} MiB"),
        ]

    async def _listen(self, n: int) -> None:
        if not n % 2:
            async for _ in self._target.events("/v1/events"):
                self._changes += 1
            return
        job = self._jobs[n // 2 % _RUNNING]
        self._listening[job] += 1
        async for kind, _ in self._target.events(f"/v1/jobs/{job}/events"):
            self._heard[job] += kind == "chunk"

    async def _lost(self) -> int:
        lost = 0
        for job in self._jobs:
            chunks = len(await self._connection.subjects("V2T_JOBS", f"v2t.job.{job}.chunk.*"))
            lost += abs(chunks * self._listening[job] - self._heard[job])
        return lost

    async def _ask(self, paths: list[str], *, seconds: float, pause: float) -> list[float]:
        """How long each answer took, in seconds."""
        took: list[float] = []
        until, turns = time.perf_counter() + seconds, count()

        async def client(n: int) -> None:
            reader, writer = await self._target.connect()
            await asyncio.sleep(pause * n / _CLIENTS)
            while time.perf_counter() < until:
                begun = time.perf_counter()
                status, _ = await self._target.ask(reader, writer, paths[next(turns) % len(paths)])
                took.append(time.perf_counter() - begun)
                self._failed += status != 200
                await asyncio.sleep(max(0.0, pause - took[-1]))
            writer.close()

        await asyncio.gather(*map(client, range(_CLIENTS)))
        return took


def _row(what: str, took: list[float], target: float | None = _TARGET) -> Row:
    p99 = statistics.quantiles(took, n=100)[-1]
    measured = (
        f"{len(took):,} answers; half within {1000 * statistics.median(took):.0f} ms, 99 % within {1000 * p99:.0f} ms"
    )
    ok = None if target is None else p99 <= target
    return Row(what, "" if target is None else f"99 % within {1000 * target:.0f} ms", measured, ok)
