"""What metrics and logs cost: the processor time that the stages spend on them, of all that they and the engine spend.

Counted around each line and each answer, in the same run: two runs compared differ by more than what is looked for.
"""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from schemas.requests import SubmitRequest
from tests.benchmarks.processes import processor_seconds, running
from tests.benchmarks.queued import Queue
from tests.benchmarks.report import Row
from tests.harness import ALL_STAGES, DATA, alive, broker, free_ports, transcribe
from tests.prometheus import fetch
from tests.simulated import install
from v2t_stream.broker.connection import Connection
from v2t_stream.store.jetstream_store import JetStreamStore

_JOBS = 20
_ALONE = ("transcribe", "aggregate")
_CHUNKS = 5000
_READ_EVERY = 5.0  # seconds; thrice as often as monitoring/prometheus.yml says
_TARGET = 0.02

# Python imports this before everything else. The clock is that of the thread, so that waiting does not count.
_COUNTING = """
import atexit, http.server, json, logging, os, time
spent = {"logs": 0, "metrics": 0, "before": 0}

def counted(name, function):
    def run(*arguments, **named):
        begun = time.thread_time_ns()
        try:
            return function(*arguments, **named)
        finally:
            spent[name] += time.thread_time_ns() - begun
            spent["before"] = spent["before"] or time.process_time_ns()
    return run

logging.Logger._log = counted("logs", logging.Logger._log)
http.server.BaseHTTPRequestHandler.handle = counted("metrics", http.server.BaseHTTPRequestHandler.handle)

def tell():
    with open(f"{os.environ['V2T_DATA_DIR']}/spent-{os.getpid()}", "w") as file:
        json.dump(spent | {"all": time.process_time_ns() - spent["before"]}, file)

atexit.register(tell)
"""


async def run(folder: Path) -> list[Row]:
    (folder / "sitecustomize.py").write_text(_COUNTING)
    return [await _pipeline(folder / "pipeline", str(folder)), await _alone(folder / "alone", str(folder))]


async def _pipeline(folder: Path, path: str) -> Row:
    """All stages, with the smallest engine there is."""
    folder.mkdir()
    settings = {"V2T_MODEL": "demo", "V2T_WARM": "true", "PYTHONPATH": path}
    async with broker(folder / "nats") as (server, connection):
        with _stages(folder, settings | {"NATS_URL": server.url}, ALL_STAGES) as (stages, ports):
            await _job(connection, 0)  # so that the engine is loaded
            before = processor_seconds(running())
            async with _read(ports):
                await asyncio.gather(*(_job(connection, n) for n in range(1, _JOBS + 1)))
            after = processor_seconds(running())
    everything = sum(after[name] - before[name] for name in before if name != "nats-server")
    what = f"{_JOBS} jobs of 3 min through all stages with the demo model"
    return _row(what, _spent(folder, stages), everything)


async def _job(connection: Connection, n: int) -> None:
    """A job with media of its own, which goes with it."""
    media = f"media/uploads/observed-{secrets.token_hex(6)}/{n}.ogg"
    await JetStreamStore(connection).put_file(media, DATA / "3min.ogg")
    job, _ = await transcribe(connection, SubmitRequest(media=media, language="en"), 600)
    if job.state != "completed":
        raise RuntimeError(f"job {job.id} is {job.state}")


async def _alone(folder: Path, path: str) -> Row:
    """Nothing but what is spent on messages: the most that it can be."""
    folder.mkdir()
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64"}
    settings["PYTHONPATH"] = f"{path}:{settings['PYTHONPATH']}"
    async with broker(folder / "nats") as (server, connection):
        with _stages(folder, settings | {"NATS_URL": server.url}, _ALONE) as (stages, ports):
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await alive(connection, _ALONE)
            async with _read(ports):
                await queue.run({"observed": _CHUNKS})
    spent = _spent(folder, stages)
    what = f"{_CHUNKS} chunks through transcribe and aggregate with an engine that takes no time"
    return _row(what, spent, spent["all"])


def _spent(folder: Path, stages: "list[subprocess.Popen[bytes]]") -> dict[str, float]:
    """Seconds of the processor that the stages told of, which have ended."""
    told = [json.loads((folder / f"spent-{stage.pid}").read_text()) for stage in stages]
    return {name: sum(one[name] for one in told) / 1e9 for name in ("logs", "metrics", "all")}


def _row(what: str, spent: dict[str, float], everything: float) -> Row:
    logs, metrics = spent["logs"] / everything, spent["metrics"] / everything
    return Row(
        f"a line of JSON for each result, and metrics read every {_READ_EVERY:.0f} s: of the processor time of {what}",
        f"under {_TARGET:.0%}",
        f"{logs + metrics:.2%} (logs {logs:.2%}, metrics {metrics:.2%})",
        logs + metrics < _TARGET,
    )


@contextlib.contextmanager
def _stages(
    home: Path, settings: dict[str, str], names: Sequence[str]
) -> Iterator[tuple["list[subprocess.Popen[bytes]]", list[int]]]:
    """Stages, and the ports where their metrics are; they have ended after the block."""
    first = free_ports(len(names))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    settings = inherited | settings | {"V2T_DATA_DIR": str(home)}
    stages = []
    with contextlib.ExitStack() as stack:
        for port, stage in enumerate(names, first):
            log = stack.enter_context((home / f"{stage}.log").open("wb"))
            command = [sys.executable, "-m", "v2t_stream", "stage", stage, "--metrics-port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, env=settings, stdout=log, stderr=log))
            stack.callback(process.terminate)
            stages.append(process)
        yield stages, [*range(first, first + len(names))]


@contextlib.asynccontextmanager
async def _read(ports: list[int]) -> AsyncGenerator[None]:
    """As Prometheus would, while the block runs."""

    async def read() -> None:
        while True:
            for port in ports:
                status, text = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")
                if status != 200:
                    raise RuntimeError(text)
            await asyncio.sleep(_READ_EVERY)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        if reading.done():
            reading.result()  # it could not read
        reading.cancel()
