"""From an upload to its job: how soon, and whether each has exactly one."""

import asyncio
import contextlib
import io
import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from minio import Minio
from nats.aio.msg import Msg

from schemas.message import decode_as
from schemas.notification import Notification, Upload
from tests.benchmarks.report import Row
from tests.harness import S3Server, Server, node, s3_server
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.host.tasks import end
from v2t_stream.jobs.upload_sync import UploadSync
from v2t_stream.runtime.set_up import set_up
from v2t_stream.runtime.stores import announce_uploads
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import BUCKET_SUBJECT, job_of

_FEW = 300
_MANY = 1000
_FOUND = 20_000
_FOUND_WITHIN = 30.0  # seconds
_AT_ONCE = 16
_TARGET = 0.5  # seconds


async def run(folder: Path) -> list[Row]:
    """Objects of a few bytes, by MinIO's SDK, with intake running."""
    nats = Server(folder / "uploads-nats")
    nats.start()
    try:
        async with await connect(nats.url, name="benchmark") as connection:
            minio = s3_server(folder / "uploads-minio", nats.url)
            with _running(minio):
                await set_up(connection, minio.settings())
                await announce_uploads(minio.settings())
                with node(nats.url, folder / "uploads", "intake", **minio.environment):
                    told = await _told(minio, connection)
            silent = s3_server(folder / "uploads-silent")
            with _running(silent):
                await set_up(connection, silent.settings(), change_store=True)
                return [*told, await _found(silent, connection, folder / "found")]
    finally:
        nats.stop()


@contextlib.contextmanager
def _running(minio: S3Server) -> Iterator[None]:
    minio.start()
    try:
        yield
    finally:
        minio.stop()


class _Watch:
    """When each upload was heard of, and when its job was submitted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.heard: dict[str, float] = {}
        self.seen: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        await self._connection.client.subscribe(BUCKET_SUBJECT, cb=self._hear)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._watching)

    async def _hear(self, message: Msg) -> None:
        for upload in decode_as(Notification, message.data).created():
            self.heard.setdefault(upload_job_id(upload), time.perf_counter())

    async def _watch(self) -> None:
        async for stored in self._connection.watch(JOBS, "v2t.job.*.submitted"):
            if stored:
                self.seen.setdefault(job_of(stored.subject), time.perf_counter())

    async def all(self, jobs: Iterable[str]) -> None:
        """Wait until all of them are submitted."""
        missing = set(jobs)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(300):
                while missing := missing - self.seen.keys():
                    await asyncio.sleep(0.01)


def _put(client: Minio, key: str) -> tuple[str, float]:
    """The job's id, and when the upload had ended."""
    data = key.encode()
    result = client.put_object(bucket_name="v2t-uploads", object_name=key, data=io.BytesIO(data), length=len(data))
    ended = time.perf_counter()
    return upload_job_id(Upload(bucket="v2t-uploads", key=key, etag=(result.etag or "").strip('"'))), ended


async def _put_all(client: Minio, keys: Iterable[str], at_once: int) -> list[tuple[str, float]]:
    with ThreadPoolExecutor(at_once) as threads:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(threads, _put, client, key) for key in keys))


async def _told(minio: S3Server, connection: Connection) -> list[Row]:
    """Of what the server tells."""
    client = minio.client()
    rows = []
    async with _Watch(connection) as watch:
        await watch.all(job for job, _ in await _put_all(client, ["warm.mp4"], 1))
        for at_once, how in ((1, "one after another"), (_AT_ONCE, f"{_AT_ONCE} at a time")):
            put = await _put_all(client, (f"{at_once}/{n}.mp4" for n in range(_FEW)), at_once)
            await watch.all(job for job, _ in put)
            waits = [watch.seen[job] - ended for job, ended in put]
            ours = statistics.median((watch.seen[job] - watch.heard[job]) for job, _ in put)
            late = statistics.quantiles(waits, n=100)[98]
            rows.append(
                Row(
                    f"from the end of a PUT to the job submitted, {_FEW} uploads {how}, 99th percentile",
                    f"under {_TARGET * 1000:.0f} ms",
                    f"{late * 1000:.0f} ms (median {statistics.median(waits) * 1000:.0f}, of it {ours * 1000:.0f} from "
                    "the server's message on)",
                    late < _TARGET,
                )
            )
        begun = time.perf_counter()
        many = await _put_all(client, (f"many/{n}.mp4" for n in range(_MANY)), _AT_ONCE)
        await watch.all(job for job, _ in many)
        took = time.perf_counter() - begun
        await asyncio.sleep(5)  # MinIO sends each again within three seconds
    others = 2 * _FEW + 1
    jobs = len(await connection.subjects(JOBS, "v2t.job.*.submitted"))
    several = f"{jobs - others} (in {took:.0f} s)"
    return [*rows, Row(f"jobs of {_MANY} uploads, {_AT_ONCE} at a time", f"{_MANY}", several, jobs == _MANY + others)]


async def _found(minio: S3Server, connection: Connection, home: Path) -> Row:
    """Of what no server told of."""
    put = await _put_all(minio.client(), (f"found/{n}.mp4" for n in range(_FOUND)), _AT_ONCE)
    async with _Watch(connection) as watch:
        begun = time.perf_counter()
        announced, _ = await UploadSync(connection, MinioStore(minio.settings()), minio.settings()).run()
        looked = time.perf_counter() - begun
        with node(connection.url, home, "intake", **minio.environment):
            await watch.all(job for job, _ in put)
        took = time.perf_counter() - begun
        missing = len({job for job, _ in put} - watch.seen.keys())
    return Row(
        f"{_FOUND:,} objects that no server told of, taken up by a look into the bucket",
        f"within {_FOUND_WITHIN:.0f} s",
        f"{looked:.0f} s; all have jobs after {took:.0f} s",
        looked < _FOUND_WITHIN and announced == _FOUND and not missing,
    )
