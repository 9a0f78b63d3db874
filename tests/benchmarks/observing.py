"""What metrics and logs cost: the pipeline of overhead.py with both and without either, in many short turns.

The same processes do all turns, so that what else the machine does weighs on both alike.
"""

import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.processes import below
from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row, say
from tests.harness import broker
from tests.prometheus import fetch, free_ports
from tests.simulated import install

_TURNS = 50
_CHUNKS = 300  # in a turn
_TARGET = 0.02

# Python imports this before everything else: a signal turns the log off, and on again.
_SWITCH = """
import logging, signal
signal.signal(
    signal.SIGUSR1,
    lambda *_: logging.disable(logging.NOTSET if logging.root.manager.disable else logging.CRITICAL),
)
"""


async def run(folder: Path) -> list[Row]:
    switch = folder / "switch"
    switch.mkdir()
    (switch / "sitecustomize.py").write_text(_SWITCH)
    settings = install(folder / "simulated") | {"V2T_MODEL": "x1000000", "V2T_BATCH": "64"}
    settings |= {"PYTHONPATH": f"{switch}:{settings['PYTHONPATH']}", "V2T_DATA_DIR": str(folder / "observing")}
    dearer = []
    async with broker(folder / "observing-nats") as (server, connection):
        with _stages(folder, settings | {"NATS_URL": server.url}) as (stages, ports):
            queue = Queue(connection, 1.0)
            await queue.prepare()
            await until(connection, 1)
            await queue.run({"warm": _CHUNKS})
            spent: dict[bool, float] = {}
            watch = True
            for turn in range(_TURNS):
                for _ in range(2):  # both, and in each turn the other one first
                    spent[watch] = await _spent(queue, f"turn{turn}-{watch}", stages, ports if watch else [])
                    watch = not watch
                    for process in stages:
                        process.send_signal(signal.SIGUSR1)
                watch = not watch
                for process in stages:
                    process.send_signal(signal.SIGUSR1)
                dearer.append(spent[True] / spent[False] - 1)
                say(f"{1e3 * spent[True] / _CHUNKS:.2f} ms a chunk, {1e3 * spent[False] / _CHUNKS:.2f} without")
    low, middle, high = statistics.quantiles(dearer, n=4)
    return [
        Row(
            f"a line of JSON for each result, and metrics read every {_CHUNKS} chunks, against neither: processor time "
            f"of transcribe and aggregate, {_TURNS} turns",
            f"under {_TARGET:.0%} more",
            f"{middle:.1%} (half of the turns between {low:.1%} and {high:.1%})",
            middle < _TARGET,
        )
    ]


async def _spent(queue: Queue, job: str, stages: "list[subprocess.Popen[bytes]]", ports: list[int]) -> float:
    """The processor time of the stages over one job, and one look at their metrics."""
    before = _processor(stages)
    for port in ports:
        status, text = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")
        if status != 200:
            raise RuntimeError(text)
    await queue.run({job: _CHUNKS})
    return _processor(stages) - before


def _processor(stages: "list[subprocess.Popen[bytes]]") -> float:
    """Seconds, to the nanosecond, which /proc/PID/stat does not have."""
    spent = 0
    for stage in stages:
        for pid in (stage.pid, *below(stage.pid)):
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):  # it has just ended
                    spent += int(thread.read_text(encoding="utf-8").split()[0])
    return spent / 1e9


@contextlib.contextmanager
def _stages(folder: Path, settings: dict[str, str]) -> Iterator[tuple["list[subprocess.Popen[bytes]]", list[int]]]:
    """Transcribe and aggregate, and the ports where their metrics are."""
    ports = [free_ports(1), free_ports(1)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    stages = []
    with contextlib.ExitStack() as stack:
        for stage, port in zip(("transcribe", "aggregate"), ports, strict=True):
            log = stack.enter_context((folder / f"observing-{stage}.log").open("wb"))
            command = [sys.executable, "-m", "v2t_stream", "stage", stage, "--metrics-port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, env=inherited | settings, stdout=log, stderr=log))
            stack.callback(process.terminate)
            stages.append(process)
        yield stages, ports
