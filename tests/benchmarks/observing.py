"""What metrics and logs cost: the pipeline of overhead.py with both and without either, in turns."""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from tests.benchmarks.overhead import CHUNKS, Cost, processor
from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row, say, spread
from tests.harness import broker
from tests.prometheus import fetch, free_ports
from tests.simulated import install

_TURNS = 7
_TARGET = 0.02
_SCRAPED_EVERY = 5.0  # seconds; thrice as often as monitoring/prometheus.yml says

# There is no setting for it, as nobody should want it: Python imports this before everything else.
_SILENCE = "import logging\nlogging.disable(logging.CRITICAL)\n"


async def run(folder: Path) -> list[Row]:
    silent = folder / "silent"
    silent.mkdir()
    (silent / "sitecustomize.py").write_text(_SILENCE)
    plain, watched = [], []
    for turn in range(_TURNS):
        plain.append(await _cost(folder / f"plain-{turn}", silent, watch=False))
        watched.append(await _cost(folder / f"watched-{turn}", None, watch=True))
        say(f"{plain[-1].rate:.0f}/s and {watched[-1].rate:.0f}/s with")
    dearer = [one.processor / other.processor - 1 for one, other in zip(watched, plain, strict=True)]
    slower = [1 - one.rate / other.rate for one, other in zip(watched, plain, strict=True)]
    return [
        Row(
            f"metrics read every {_SCRAPED_EVERY:.0f} s and a line of JSON for each result, against neither: processor "
            f"time of {_TURNS} runs of {CHUNKS} chunks in turns",
            f"under {_TARGET:.0%} more",
            f"{spread([100 * one for one in dearer], unit=' %')}; {spread([100 * one for one in slower], unit=' %')} fewer "
            "chunks a second",
            statistics.median(dearer) < _TARGET,
        )
    ]


async def _cost(folder: Path, silent: Path | None, *, watch: bool) -> Cost:
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64", "V2T_LOG_FORMAT": "json"}
    if silent:
        settings["PYTHONPATH"] = f"{silent}:{settings['PYTHONPATH']}"
    async with broker(folder / "nats") as (server, connection):
        settings |= {"NATS_URL": server.url, "V2T_DATA_DIR": str(folder / "home")}
        with _stages(folder, settings, watch=watch) as ports:
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await until(connection, 1)
            await queue.run({"warm": 50})
            async with _read(ports):
                before = processor()
                took, _ = await queue.run({"watched": CHUNKS})
                return Cost(took, processor() - before)


@contextlib.contextmanager
def _stages(folder: Path, settings: dict[str, str], *, watch: bool) -> Iterator[list[int]]:
    """Transcribe and aggregate; the ports where their metrics are."""
    first = free_ports(2)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    with contextlib.ExitStack() as stack:
        for port, stage in enumerate(("transcribe", "aggregate"), first):
            log = stack.enter_context((folder / f"{stage}.log").open("wb"))
            command = [sys.executable, "-m", "v2t_stream", "stage", stage]
            command += ["--metrics-port", str(port)] if watch else []
            process = stack.enter_context(subprocess.Popen(command, env=inherited | settings, stdout=log, stderr=log))
            stack.callback(process.terminate)
        yield [first, first + 1] if watch else []


@contextlib.asynccontextmanager
async def _read(ports: list[int]) -> AsyncGenerator[None]:
    """As Prometheus would, while the block runs."""

    async def read() -> None:
        while True:
            for port in ports:
                status, text = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")
                if status != 200:
                    raise RuntimeError(text)
            await asyncio.sleep(_SCRAPED_EVERY)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
