"""What the HTTP API costs: time beside `v2t convert`, and memory for a large upload."""

import asyncio
import os
import statistics
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp

from schemas.options import DEMO_MODEL
from tests.benchmarks.media import recording
from tests.benchmarks.pipeline import Pipeline, cores, pipeline
from tests.benchmarks.processes import memory, processor_seconds
from tests.benchmarks.report import Row, say, spread
from tests.serving import Serving, serving

MINUTES: Final = 10
TIMES: Final = 7
OVERHEAD: Final = 3.0  # percent
BYTES: Final = 2 << 30
GROWTH: Final = 100.0  # MB
_MB: Final = 1_000_000
_ALL_DAY: Final = aiohttp.ClientTimeout(total=None)


async def run(folder: Path) -> list[Row]:
    """One broker, one node and one server, for the command and the API in turns."""
    path = recording(folder, MINUTES)
    async with pipeline(folder, cores()) as ready:
        broker = str(ready.connection.client.connected_url and ready.connection.client.connected_url.geturl())
        with serving(broker, folder / "serve") as server:
            taken, worked = await _in_turns(ready, path, server, broker, folder)
            grown = await _upload(folder, server.url, server.process.pid)
    return [*_compared(taken), worked, *grown]


async def _in_turns(
    ready: Pipeline, path: Path, server: Serving, broker: str, folder: Path
) -> tuple[dict[str, list[float]], Row]:
    """The seconds that each way takes for the file, each time begun by another, and what the server computes."""
    computed: list[float] = []

    async def same_steps() -> None:
        await ready.run(path)

    async def posted() -> None:
        before = _processor(server)
        await _posted(server.url, path)
        computed.append(_processor(server) - before)

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "HTTP": posted,
        "command": lambda: _converted(path, broker, folder),
        "its steps": same_steps,
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for time_ in range(TIMES + 1):
        names = [*ways]
        for name in names[time_ % len(names) :] + names[: time_ % len(names)]:
            begun = time.perf_counter()
            await ways[name]()
            if time_:  # the first warms up
                taken[name].append(time.perf_counter() - begun)
        say(f"  {', '.join(f'{name} {each[-1]:.2f} s' for name, each in taken.items() if each)}")
    return taken, Row("processor time of the server for that file", "", spread(computed[1:], ".2f"))


def _processor(server: Serving) -> float:
    return processor_seconds({"serve": server.process.pid})["serve"]


def _compared(taken: dict[str, list[float]]) -> list[Row]:
    http, command, steps = (taken[way] for way in ("HTTP", "command", "its steps"))
    rows = []
    for other, what in ((command, "`v2t convert`"), (steps, "the steps of `v2t convert`, without its start")):
        pairs = [100 * (one / against - 1) for one, against in zip(http, other, strict=True)]
        more, range_ = statistics.median(pairs), f"{min(pairs):+.1f} to {max(pairs):+.1f}"
        rows.append(
            Row(
                f"a file of {MINUTES} min over HTTP, against {what}, in turns",
                f"at most {OVERHEAD:.0f} % more",
                f"{more:+.1f} % ({range_}): {spread(http, '.2f')}, {spread(other, '.2f')}",
                more <= OVERHEAD,
            )
        )
    return rows


async def _posted(url: str, path: Path, model: str = DEMO_MODEL) -> None:
    async with aiohttp.ClientSession(url, timeout=_ALL_DAY) as client:
        with path.open("rb") as file:
            form = aiohttp.FormData({"model": model, "language": "en", "response_format": "srt", "force": "true"})
            form.add_field("file", file, filename=path.name)
            async with client.post("/v1/audio/transcriptions", data=form) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise RuntimeError(text)


async def _converted(path: Path, broker: str, folder: Path) -> None:
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "v2t_stream", "convert", str(path), "--output", str(folder / "out"), "--format", "srt"),
        *("--model", DEMO_MODEL, "--language", "en", "--force", "--overwrite"),
        env={**os.environ, "NATS_URL": broker, "V2T_DATA_DIR": str(folder / "convert")},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await command.communicate()
    if command.returncode:
        raise RuntimeError(errors.decode())


async def _upload(folder: Path, url: str, server: int) -> list[Row]:
    """Silence, which a disk holds in a few bytes, and which is transcribed quickly."""
    path = folder / "silence.wav"
    sound = struct.pack("<4sI4s4sIHHII", b"RIFF", BYTES - 8, b"WAVE", b"fmt ", 16, 1, 2, 44_100, 4 * 44_100)
    path.write_bytes(sound + struct.pack("<HH4sI", 4, 16, b"data", BYTES - 44))
    os.truncate(path, BYTES)
    before = memory(server, "VmRSS") / _MB
    begun = time.perf_counter()
    await _posted(url, path)
    took, most = time.perf_counter() - begun, memory(server, "VmHWM") / _MB
    return [
        Row(
            f"memory of the server for an upload of {BYTES >> 30} GB",
            f"less than {GROWTH:.0f} MB more",
            f"{most - before:.0f} MB more: {before:.0f}, then at most {most:.0f}; transcribed in {took:.0f} s",
            most - before < GROWTH,
        )
    ]
