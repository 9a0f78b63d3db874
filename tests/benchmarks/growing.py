"""Words while a recording is still being sent, and what an upload that resumes costs the server."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

from schemas.options import DEMO_MODEL
from tests.benchmarks.pipeline import cores, pipeline
from tests.benchmarks.processes import memory
from tests.benchmarks.report import Row, spread
from tests.harness import DATA
from tests.serving import serving

RECORDING: Final = (DATA / "3min.ogg").read_bytes()
SECONDS: Final = 180
MINUTE: Final = len(RECORDING) * 60 // SECONDS  # bytes
TIMES: Final = 5
FIRST: Final = 2.0  # seconds
BYTES: Final = 2 << 30
GROWTH: Final = 100.0  # MB
_MB: Final = 1_000_000
_STEP: Final = 16 << 10  # bytes
_TUS: Final = {"Tus-Resumable": "1.0.0"}


async def run(folder: Path) -> list[Row]:
    async with pipeline(folder, cores()) as ready:
        broker = str(ready.connection.client.connected_url and ready.connection.client.connected_url.geturl())
        with serving(broker, folder / "serve") as server:
            async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(total=None)) as client:
                first = [await _first_words(client) for _ in range(TIMES + 1)][1:]
                return [
                    Row(
                        "first words, from the end of an upload's first minute, the rest being sent as it is spoken",
                        f"at most {FIRST:.0f} s",
                        spread(first, ".2f"),
                        statistics.median(first) <= FIRST,
                    ),
                    await _large(client, server.process.pid),
                ]


async def _first_words(client: aiohttp.ClientSession) -> float:
    """Seconds until the first words of a recording whose first minute is sent at once."""
    sent = 0.0
    over = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal sent
        yield RECORDING[:MINUTE]
        sent = time.perf_counter()
        for start in range(MINUTE, len(RECORDING), _STEP):
            if not over.is_set():
                await asyncio.sleep(SECONDS * _STEP / len(RECORDING))
            yield RECORDING[start : start + _STEP]

    form = aiohttp.FormData({"model": DEMO_MODEL, "language": "en", "stream": "true", "force": "true"})
    form.add_field("file", blocks(), filename="talk.ogg")
    took = 0.0
    async with client.post("/v1/audio/transcriptions", data=form) as answer:
        async for line in answer.content:
            if line.startswith(b"data: {") and not took:
                took = time.perf_counter() - sent
                over.set()
            if b"error" in line:
                raise RuntimeError(json.loads(line.removeprefix(b"data: ")))
    return took


async def _large(client: aiohttp.ClientSession, server: int) -> Row:
    """Of zeros, which nobody transcribes."""
    block = bytes(1 << 20)

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(BYTES // len(block)):
            yield block

    before = memory(server, "VmRSS") / _MB
    begun = time.perf_counter()
    async with client.post("/v1/uploads", headers={**_TUS, "Upload-Length": str(BYTES)}) as answer:
        path = answer.headers["Location"]
    headers = {**_TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    async with client.patch(path, data=blocks(), headers=headers) as answer:
        if answer.status != 204:
            raise RuntimeError(await answer.text())
    took, most = time.perf_counter() - begun, memory(server, "VmHWM") / _MB
    async with client.delete(path, headers=_TUS):
        pass
    return Row(
        f"memory of the server for an upload of {BYTES >> 30} GB that could resume",
        f"less than {GROWTH:.0f} MB more",
        f"{most - before:.0f} MB more: {before:.0f}, then at most {most:.0f}; stored as one object in {took:.0f} s",
        most - before < GROWTH,
    )
