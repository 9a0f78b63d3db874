"""What metrics and logs cost: the processor time that the stages spend on them, of all that they spend.

Counted around each line and each answer, in the same run: two runs compared differ by more than what is looked for.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row
from tests.harness import broker
from tests.prometheus import fetch, free_ports
from tests.simulated import install

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
    counting, home = folder / "counting", folder / "observing"
    counting.mkdir()
    home.mkdir()
    (counting / "sitecustomize.py").write_text(_COUNTING)
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64", "V2T_DATA_DIR": str(home)}
    settings["PYTHONPATH"] = f"{counting}:{settings['PYTHONPATH']}"
    async with broker(folder / "observing-nats") as (server, connection):
        with _stages(home, settings | {"NATS_URL": server.url}) as (stages, ports):
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await until(connection, 1)
            async with _read(ports):
                await queue.run({"observed": _CHUNKS})
    told = [json.loads((home / f"spent-{stage.pid}").read_text()) for stage in stages]
    logs, metrics, everything = (sum(one[name] for one in told) for name in ("logs", "metrics", "all"))
    share = (logs + metrics) / everything
    return [
        Row(
            f"a line of JSON for each result, and metrics read every {_READ_EVERY:.0f} s: of the processor time of "
            f"transcribe and aggregate over {_CHUNKS} chunks of an engine that takes no time",
            f"under {_TARGET:.0%}",
            f"{share:.1%} (logs {logs / everything:.2%}, metrics {metrics / everything:.2%})",
            share < _TARGET,
        )
    ]


@contextlib.contextmanager
def _stages(home: Path, settings: dict[str, str]) -> Iterator[tuple["list[subprocess.Popen[bytes]]", list[int]]]:
    """Transcribe and aggregate, and the ports where their metrics are; they have ended after the block."""
    first = free_ports(2)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    stages = []
    with contextlib.ExitStack() as stack:
        for port, stage in enumerate(("transcribe", "aggregate"), first):
            log = stack.enter_context((home / f"{stage}.log").open("wb"))
            command = [sys.executable, "-m", "v2t_stream", "stage", stage, "--metrics-port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, env=inherited | settings, stdout=log, stderr=log))
            stack.callback(process.terminate)
            stages.append(process)
        yield stages, [first, first + 1]


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
