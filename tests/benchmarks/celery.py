"""Our overhead benchmark and Celery on Redis doing the same, in turns: chunks fanned out, done and collected.

Celery has the choice of three ways to collect. A chord is its own: a worker collects, whatever becomes of the client.
Joining in the client is quicker, and lost with the client. A hash in Redis, which the last task finds complete, is
written by hand around Celery. Redis has the choice of when its log is on disk: with each command, as our broker has it,
or every second.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import overhead
from tests.benchmarks.overhead import CHUNKS, Cost
from tests.benchmarks.report import Row, load, say, spread
from tests.simulated import install

TIMES = 3
_WORKERS = {"chord": 2, "join": 2, "hash": 4}  # processes of the pool: of 1, 2 and 4 the quickest on two cores
_WAYS = {
    "chord": "a chord",
    "join": "a group joined in the client",
    "hash": "a hash in Redis by hand",
}
_FSYNC = {"always": "on disk with each command as ours", "everysec": "on disk every second"}


async def run(folder: Path) -> list[Row]:
    if missing := _missing():
        return [Row("chunks a second against Celery on Redis", "ahead", f"not measured: {missing}")]
    ours: list[Cost] = []
    theirs: dict[tuple[str, str], list[Cost]] = {(way, fsync): [] for fsync in _FSYNC for way in _WAYS}
    for turn in range(TIMES):
        ours.append(await overhead.cost(folder / f"celery-{turn}-ours"))
        say(f"  ours: {ours[-1].rate:.0f} a second, {ours[-1].processor:.1f} processor seconds [{load()}]")
        for (way, fsync), costs in theirs.items():
            costs.append(await asyncio.to_thread(_cost, folder / f"celery-{turn}-{way}-{fsync}", way, fsync))
            say(
                f"  Celery, {_WAYS[way]}, {fsync}: {costs[-1].rate:.0f} a second, "
                f"{costs[-1].processor:.1f} processor seconds [{load()}]"
            )
    return [_row(way, fsync, ours, costs) for (way, fsync), costs in theirs.items()]


def _missing() -> str:
    """What is not installed here, as a sentence that says how to; empty where nothing is."""
    if not all(map(importlib.util.find_spec, ("celery", "redis"))):
        return "Celery is missing, install it with `uv run --group comparison python -m tests.benchmarks celery`"
    if not shutil.which("redis-server"):
        return "redis-server is missing, install the package redis-server (Debian) or redis (Homebrew)"
    return ""


def _row(way: str, fsync: str, ours: list[Cost], theirs: list[Cost]) -> Row:
    ratio = [our.rate / their.rate for our, their in zip(ours, theirs, strict=True)]
    processor = [statistics.median(cost.processor for cost in costs) for costs in (ours, theirs)]
    return Row(
        f"chunks a second against Celery on Redis, {_FSYNC[fsync]}, collected by {_WAYS[way]}",
        "ahead",
        f"{spread(ratio, '.2f', ' times')}: {spread([cost.rate for cost in ours], '.0f', '')} against "
        f"{spread([cost.rate for cost in theirs], '.0f', '')}; "
        f"processor seconds {processor[0]:.1f} against {processor[1]:.1f}",
        statistics.median(ratio) > 1,
    )


def _cost(folder: Path, way: str, fsync: str) -> Cost:
    """Redis, a worker and a client, each fresh, with a small job behind them."""
    with _redis(folder / "redis", fsync) as url:
        environment = {**os.environ, **install(folder / "simulated"), "BENCHMARK_REDIS": url}
        with _worker(folder, environment, _WORKERS[way]), _client(folder, environment) as client:
            _ask(client, f"{way} warm 50", folder)
            before = overhead.processor()
            seconds = _ask(client, f"{way} overhead {CHUNKS}", folder)
            return Cost(seconds, overhead.processor() - before)


@contextlib.contextmanager
def _redis(folder: Path, fsync: str) -> Iterator[str]:
    """A server that keeps what it is told; its URL."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "logfile": str(folder / "redis.log"),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
    }
    command = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]
    with _running(command, dict(os.environ), folder / "output.log"):
        give_up = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def _worker(folder: Path, environment: dict[str, str], workers: int) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "tests.benchmarks.celery_tasks", "worker", "--loglevel", "WARNING"]
    command += ["--pool", "prefork", "--concurrency", str(workers)]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]  # there is one worker
    with _running(command, environment, folder / "worker.log"):
        yield


@contextlib.contextmanager
def _client(folder: Path, environment: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tests.benchmarks.celery_tasks"]
    with _running(command, environment, folder / "client.log") as process:
        yield process


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            env=environment,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _ask(client: "subprocess.Popen[bytes]", line: str, folder: Path) -> float:
    """Have a job done; the seconds."""
    assert client.stdin
    assert client.stdout
    client.stdin.write(f"{line}\n".encode())
    client.stdin.flush()
    if answer := client.stdout.readline():
        return float(answer)
    raise RuntimeError(f"Celery did not do {line!r}: {(folder / 'client.log').read_text()[-2000:]}")
