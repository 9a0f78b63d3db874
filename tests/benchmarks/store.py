"""MinioStore against plain calls of MinIO's SDK, in turns on one server."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.benchmarks.report import Row, say, spread
from tests.harness import s3_server
from v2t_stream.store.minio_store import MinioStore

_BYTES = 100_000_000
_TURNS = 12
_TARGET = 1.1


async def run(folder: Path) -> list[Row]:
    """Put and get of a file of 100 MB, ours with its checksum taken and checked."""
    server = s3_server(folder / "store")
    server.start()
    try:
        store, client = MinioStore(server.settings()), server.client()
        await store.create(media_max_age=3600)
        source, copy = folder / "source", folder / "copy"
        source.write_bytes(os.urandom(_BYTES))

        where = {"bucket_name": "v2t-media", "object_name": "bench/plain"}
        transfers: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: store.put_file("media/bench/ours", source),
            "plain put": lambda: asyncio.to_thread(client.fput_object, **where, file_path=str(source)),
            "get": lambda: store.get_file("media/bench/ours", copy),
            "plain get": lambda: asyncio.to_thread(client.fget_object, **where, file_path=str(copy)),
        }
        times: dict[str, list[float]] = {name: [] for name in transfers}
        for turn in range(_TURNS + 1):
            for name in sorted(transfers, reverse=turn % 2 == 0):
                os.sync()  # what is still being written harms who comes next
                # As in a stage's fresh folder. To rename over a file makes ext4 write the new one out first.
                copy.unlink(missing_ok=True)
                took = await _timed(transfers[name])
                if turn:  # the first warms up
                    times[name].append(took)
    finally:
        server.stop()
    for name, taken in times.items():
        say(f"{name} {spread(taken, '.2f')}")
    ours = [put + get for put, get in zip(times["put"], times["get"], strict=True)]
    plain = [put + get for put, get in zip(times["plain put"], times["plain get"], strict=True)]
    ratio = statistics.median(ours) / statistics.median(plain)
    return [
        Row(
            "100 MB into MinIO and back, checksum included, against the SDK's own calls",
            f"at most {_TARGET:g} times",
            f"{ratio:.2f} ({spread(ours, '.2f')} against {spread(plain, '.2f')})",
            ratio <= _TARGET,
        )
    ]


async def _timed(transfer: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await transfer()
    return time.perf_counter() - begun
