"""From an upload to its job: how soon, and whether each has exactly one."""

import asyncio
import contextlib
import io
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from schemas.notification import Upload
from tests.benchmarks.report import Row
from tests.harness import S3Server, Server, node, s3_server
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.runtime.session import announce_uploads, set_up
from v2t_stream.topology.streams import JOBS, job_of, upload_job_id

_SINGLE = 300
_MANY = 1000
_AT_ONCE = 16
_TARGET = 0.5  # seconds


async def run(folder: Path) -> list[Row]:
    """Objects of a few bytes, by MinIO's SDK, with intake running."""
    nats = Server(folder / "uploads-nats")
    nats.start()
    minio = s3_server(folder / "uploads-minio", nats.url)
    minio.start()
    try:
        async with await connect(nats.url, name="benchmark") as connection:
            await set_up(connection, minio.settings())
            await announce_uploads(minio.settings())
            with node(nats.url, folder / "uploads", "intake", **minio.environment):
                return await _measure(minio, connection)
    finally:
        minio.stop()
        nats.stop()


async def _measure(minio: S3Server, connection: Connection) -> list[Row]:
    client = minio.client()
    seen: dict[str, float] = {}

    async def watch() -> None:
        async for stored in connection.watch(JOBS, "v2t.job.*.submitted"):
            if stored:
                seen.setdefault(job_of(stored.subject), time.perf_counter())

    def put(key: str) -> tuple[str, float]:
        """The job's id, and when the upload had ended."""
        data = key.encode()
        result = client.put_object(bucket_name="v2t-uploads", object_name=key, data=io.BytesIO(data), length=len(data))
        ended = time.perf_counter()
        return upload_job_id(Upload(bucket="v2t-uploads", key=key, etag=(result.etag or "").strip('"'))), ended

    watching = asyncio.create_task(watch())
    try:
        await _all(seen, [(await asyncio.to_thread(put, "warm.mp4"))[0]])
        single = [await asyncio.to_thread(put, f"single/{n}.mp4") for n in range(_SINGLE)]
        await _all(seen, [job for job, _ in single])
        waits = [seen[job] - ended for job, ended in single]
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(n: int) -> str:
            async with places:
                return (await asyncio.to_thread(put, f"many/{n}.mp4"))[0]

        begun = time.perf_counter()
        many = await asyncio.gather(*map(one, range(_MANY)))
        await _all(seen, many)
        took = time.perf_counter() - begun
        await asyncio.sleep(5)  # MinIO sends each again within three seconds
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    late = statistics.quantiles(waits, n=100)[98]
    jobs = await connection.subjects(JOBS, "v2t.job.*.submitted")
    return [
        Row(
            f"from the end of a PUT to the job submitted, {_SINGLE} uploads one after another, 99th percentile",
            f"under {_TARGET * 1000:.0f} ms",
            f"{late * 1000:.0f} ms (median {statistics.median(waits) * 1000:.0f})",
            late < _TARGET,
        ),
        Row(
            f"jobs of {_MANY} uploads, {_AT_ONCE} at a time",
            f"{_MANY}",
            f"{len(jobs) - _SINGLE - 1} (in {took:.0f} s)",
            len(jobs) == _MANY + _SINGLE + 1,
        ),
    ]


async def _all(seen: dict[str, float], jobs: Iterable[str]) -> None:
    """Wait until all of them are seen."""
    missing = set(jobs)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(120):
            while missing := missing - seen.keys():
                await asyncio.sleep(0.01)
