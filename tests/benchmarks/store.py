"""MinioStore against plain calls of MinIO's SDK, in turns on one server."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.benchmarks.report import Row, say, spread
from tests.harness import MinioServer
from v2t_stream.minio_store import MinioStore

_BYTES = 100_000_000
_TURNS = 9
_TARGET = 1.1


async def run(folder: Path) -> list[Row]:
    """Put and get of a file of 100 MB, ours with its checksum taken and checked."""
    server = MinioServer(folder / "store")
    server.start()
    try:
        store, client = MinioStore(server.settings()), server.client()
        await store.create(media_max_age=3600)
        source, copy = folder / "source", folder / "copy"
        source.write_bytes(os.urandom(_BYTES))

        async def ours() -> None:
            await store.put_file("media/bench/ours", source)
            await store.get_file("media/bench/ours", copy)

        async def plain() -> None:
            where = {"bucket_name": "v2t-media", "object_name": "bench/plain"}
            await asyncio.to_thread(client.fput_object, **where, file_path=str(source))
            await asyncio.to_thread(client.fget_object, **where, file_path=str(copy))

        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for turn in range(_TURNS + 1):
            for name, transfer in (("ours", ours), ("plain", plain)):
                took = await _timed(transfer)
                if turn:  # the first warms up
                    times[name].append(took)
        say(f"ours {spread(times['ours'], '.2f')}, plain {spread(times['plain'], '.2f')}")
    finally:
        server.stop()
    ratio = statistics.median(mine / theirs for mine, theirs in zip(times["ours"], times["plain"], strict=True))
    return [
        Row(
            "100 MB into MinIO and back, checksum included, against the SDK's own calls",
            f"at most {_TARGET:g} times",
            f"{ratio:.2f} ({spread(times['ours'], '.2f')} against {spread(times['plain'], '.2f')})",
            ratio <= _TARGET,
        )
    ]


async def _timed(transfer: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await transfer()
    return time.perf_counter() - begun
