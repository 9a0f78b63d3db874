"""MinioStore: the ObjectStore in buckets of MinIO, or of another S3 server, and the bucket whose uploads start jobs.

Each object carries the XXH3 hash of its bytes as metadata, taken from the source before it is sent and checked when it
is read. Unlike an ETag it does not depend on the size of parts or on encryption. It finds damage, not malice: who may
write objects may write their metadata too. A SHA-256 would cost a tenth of the whole transfer each way, beside the one
that the SDK takes of every part and the server checks; one that the caller has taken anyway is noted too.
"""

import asyncio
import hashlib
import io
import mimetypes
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from urllib3.exceptions import HTTPError
from xxhash import xxh3_128

from schemas.notification import Upload
from v2t_stream import minio_buckets
from v2t_stream.errors import StoreError
from v2t_stream.minio_client import no_bucket, open_client, told
from v2t_stream.object_store import OURS
from v2t_stream.settings import Settings

_BLOCK: Final = 256 << 10  # bytes read at once, which stay in the processor's cache
_PART: Final = 8 << 20  # bytes of one part; what is no larger goes in one request
_PARTS: Final = 10_000  # S3 allows no more in one object
_AT_ONCE: Final = 3  # parts sent side by side
_THREADS: Final = 16  # calls under way at once in one process
_TOPS: Final = ("media", "transcripts", "models")  # what keys of ours begin with
_XXH3: Final = "v2t-xxh3-128"  # 32 hex digits
_SHA256: Final = "v2t-sha256"
_USER: Final = "x-amz-meta-"
_RULE: Final = "v2t-{}"  # the name of our lifecycle rule of each bucket

T = TypeVar("T")


class _Stopped(Exception):
    """Nobody waits for this any more."""


class _Source:
    """A file whose reading ends when nobody waits for it."""

    def __init__(self, file: BinaryIO, stopped: threading.Event) -> None:
        self._file = file
        self._stopped = stopped

    def read(self, length: int) -> bytes:
        if self._stopped.is_set():
            raise _Stopped
        return self._file.read(length)

    def xxh3(self) -> tuple[str, int]:
        """The hash and the size of what is left; then the file is where it was at first."""
        xxh3 = xxh3_128()
        while block := self.read(_BLOCK):
            xxh3.update(block)
        size = self._file.tell()
        self._file.seek(0)
        return xxh3.hexdigest(), size


class _Sink:
    """Where an object is written from its start, and what its bytes must come to."""

    def __init__(self, file: BinaryIO, headers: Mapping[str, str]) -> None:
        file.seek(0)
        file.truncate()
        self._file = file
        self.received = 0
        self.size = int(headers["Content-Length"])
        self.etag = headers["ETag"]
        digest = headers.get(_USER + _XXH3)
        etag = self.etag.strip('"')
        # Of others' objects an ETag is the MD5 where it was sent in one part and is not encrypted.
        is_md5 = len(etag) == 32 and "x-amz-server-side-encryption" not in headers  # hex digits
        self._hash = xxh3_128() if digest else hashlib.md5(usedforsecurity=False) if is_md5 else None
        self._digest = digest or etag

    def write(self, block: bytes) -> None:
        if self._hash:
            self._hash.update(block)
        self._file.write(block)
        self.received += len(block)

    def is_damaged(self) -> bool:
        return self._hash is not None and self._hash.hexdigest() != self._digest


class MinioStore:
    """ObjectStore in buckets of an S3 server. `timeout`: seconds without an answer until a step gives up.

    A key `s3://bucket/name` means an object of any bucket; `media/…`, `transcripts/…` and `models/…` are in ours.
    """

    def __init__(self, settings: Settings, *, timeout: float = 30.0) -> None:
        self._endpoint = settings.minio_endpoint
        self._prefix = settings.minio_bucket_prefix
        self._uploads = settings.upload_bucket
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="minio")
        with self._told("use MinIO"):
            self._client = open_client(settings, connections=_THREADS + _AT_ONCE, timeout=timeout)

    async def create(
        self,
        *,
        media_max_age: float,
        transcript_max_age: float = 0,
        replicas: int = 1,  # noqa: ARG002  # MinIO's own affair
        keep: bool = False,
    ) -> None:
        """Create the buckets that are missing, and have what is in them expire after so many seconds; 0: never.

        S3 counts in whole days, so they are rounded up to those. Rules of others stay. Doing it again changes nothing.
        """
        with self._told("create the buckets"):
            for top, max_age in (("media", media_max_age), ("transcripts", transcript_max_age)):
                bucket, rule = self._bucket(top), _RULE.format(top)
                created = await self._ask(minio_buckets.create, bucket)
                # Media that nothing has expire are those of a bucket whose maker died before it said so.
                if created or not keep or (top == "media" and not await self._ask(minio_buckets.max_age, bucket, rule)):
                    await self._ask(minio_buckets.expire, bucket, rule, max_age)
            for bucket in (self._bucket("models"), self._uploads):
                await self._ask(minio_buckets.create, bucket)

    async def lifetimes(self) -> dict[str, float]:
        with self._told("look up the buckets"):
            ages = {top: await self._ask(minio_buckets.max_age, self._bucket(top), _RULE.format(top)) for top in _TOPS}
        return {top: max_age for top, max_age in ages.items() if max_age is not None}

    async def announces_uploads(self) -> bool:
        """Whether what is put into the upload bucket is published to NATS."""
        with self._told(f"look up what {self._uploads} announces"):
            return await self._ask(minio_buckets.announces, self._uploads)

    async def announce_uploads(self) -> None:
        """Have the server publish what is put into the upload bucket; what else it publishes from there stays.

        Raises StoreError where the server is not set up to publish to NATS.
        """
        with self._told(f"have MinIO announce what is put into {self._uploads}"):
            await self._ask(minio_buckets.announce, self._uploads)

    async def uploads(self) -> AsyncGenerator[Upload]:
        """What lies in the upload bucket, the latest version of each."""
        with self._told(f"list {self._uploads}"):
            found = self._client.list_objects(bucket_name=self._uploads, recursive=True, include_version=True)
            while True:
                page = await self._in_thread(lambda _: list(_some(found)))
                if not page:
                    return
                for entry in page:
                    if entry.is_latest == "true" and not entry.is_delete_marker:
                        yield Upload(
                            bucket=self._uploads,
                            key=entry.object_name,
                            etag=(entry.etag or "").strip('"'),
                            version="" if entry.version_id in (None, "null") else entry.version_id,
                        )

    async def put_file(self, key: str, path: Path, *, sha256: str = "") -> None:
        with self._told(f"store {path} as {key}"), await asyncio.to_thread(path.open, "rb") as source:
            await self._in_thread(lambda stopped: self._upload(key, _Source(source, stopped), sha256))

    async def put(self, key: str, data: bytes) -> None:
        with self._told(f"store {key}"):
            await self._in_thread(lambda stopped: self._upload(key, _Source(io.BytesIO(data), stopped)))

    async def get_file(self, key: str, path: Path) -> None:
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with self._told(f"fetch {key} into {path}"):
            try:
                with await asyncio.to_thread(part.open, "xb") as file:
                    await self._in_thread(lambda stopped: self._download(key, file, stopped))
                await asyncio.to_thread(part.replace, path)
            finally:
                part.unlink(missing_ok=True)

    async def get(self, key: str) -> bytes:
        file = io.BytesIO()
        with self._told(f"fetch {key}"):
            await self._in_thread(lambda stopped: self._download(key, file, stopped))
        return file.getvalue()

    async def size(self, key: str) -> int | None:
        bucket, name = self._where(key)
        with self._told(f"look up {key}"):
            found = await self._in_thread(lambda _: self._stat(bucket, name))
        return found.size if found else None

    async def sha256(self, key: str) -> str | None:
        """As whoever stored it noted it."""
        bucket, name = self._where(key)
        with self._told(f"look up {key}"):
            found = await self._in_thread(lambda _: self._stat(bucket, name))
        return (found.metadata or {}).get(_USER + _SHA256) if found else None

    async def labels(self, key: str) -> dict[str, str]:
        """Its metadata, and its tags; where both have a name, the metadata."""
        bucket, name = self._where(key)
        with self._told(f"look up {key}"):
            return await self._in_thread(lambda _: self._labels(bucket, name))

    async def keys(self, prefix: str) -> list[str]:
        bucket, start = self._where(prefix)
        top = prefix.removesuffix(start)
        with self._told(f"list {prefix}"):
            return [top + name for name in await self._in_thread(lambda _: self._names(bucket, start))]

    async def delete(self, key: str) -> None:
        bucket, name = self._where(key)
        with self._told(f"delete {key}"):
            await self._in_thread(lambda _: self._client.remove_object(bucket_name=bucket, object_name=name))

    async def delete_prefix(self, prefix: str) -> int:
        bucket, start = self._where(prefix)
        with self._told(f"delete {prefix}"):
            return await self._in_thread(lambda _: self._delete_all(bucket, start))

    def _told(self, action: str) -> AbstractContextManager[None]:
        return told(action, self._endpoint)

    def _bucket(self, top: str) -> str:
        return self._prefix + top

    def _where(self, key: str) -> tuple[str, str]:
        """The bucket and the object's name in it."""
        if key.startswith("s3://"):
            bucket, _, name = key.removeprefix("s3://").partition("/")
            return bucket, name
        top, slash, name = key.partition("/")
        if top not in _TOPS or not slash:
            raise StoreError(f"{key!r} is no key of this store: keys begin with {' or '.join(_TOPS)} and /")
        return self._bucket(top), name

    async def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        """What `call` of the client and `arguments` returns."""
        return await self._in_thread(lambda _: call(self._client, *arguments))

    async def _in_thread(self, work: Callable[[threading.Event], T]) -> T:
        """Do it off the loop. Where we are cancelled it is stopped, and waited for: nothing of it comes later."""
        stopped = threading.Event()
        running = self._pool.submit(work, stopped)
        result = asyncio.wrap_future(running)
        result.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else may look
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            stopped.set()
            if not running.cancel():
                await asyncio.wait({result})
            raise

    def _upload(self, key: str, source: _Source, sha256: str = "") -> None:
        bucket, name = self._where(key)
        xxh3, size = source.xxh3()
        metadata: dict[str, str | list[str] | tuple[str]] = {_XXH3: xxh3}
        if sha256:
            metadata[_SHA256] = sha256
        if key.startswith("s3://"):
            metadata[OURS] = "yes"
        try:
            self._client.put_object(
                bucket_name=bucket,
                object_name=name,
                data=source,  # type: ignore[arg-type]  # of a file it needs read alone
                length=size,
                content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                metadata=metadata,
                part_size=max(_PART, -(-size // _PARTS)),
                num_parallel_uploads=_AT_ONCE,
            )
        except S3Error as error:
            if error.code != "NoSuchUpload":
                raise
            # Its end was sent twice, as the first answer was lost with the server.
            found = self._stat(bucket, name)
            if not found or found.size != size or (found.metadata or {}).get(_USER + _XXH3) != xxh3:
                # Or the server had ended it before the SDK did, which then tells of that instead of why.
                reason = error.__context__
                raise reason if isinstance(reason, S3Error) else error from None

    def _download(self, key: str, file: BinaryIO, stopped: threading.Event) -> None:
        """Write the object into `file` and check it; what breaks off goes on where it was, unless it was replaced."""
        bucket, name = self._where(key)
        sink: _Sink | None = None
        for _ in range(2):
            try:
                while sink is None or sink.received < sink.size:
                    sink = self._receive(bucket, name, file, sink, stopped)
            except S3Error as error:
                if error.code != "PreconditionFailed":
                    raise
                sink = None
            else:
                if sink.is_damaged():
                    raise StoreError(f"{key} is damaged (its checksum does not match): store it again")
                return
        raise StoreError(f"{key} was replaced again and again while it was read: read it again")

    def _receive(self, bucket: str, name: str, file: BinaryIO, sink: _Sink | None, stopped: threading.Event) -> _Sink:
        """Read on from where `sink` ends, as far as the connection holds; raises where it brings nothing."""
        before = sink.received if sink else 0
        headers: Any = {"If-Match": sink.etag} if sink else None
        response = self._client.get_object(bucket_name=bucket, object_name=name, offset=before, request_headers=headers)
        try:
            sink = sink or _Sink(file, response.headers)
            for block in response.stream(_BLOCK):
                if stopped.is_set():
                    raise _Stopped
                sink.write(block)
        except HTTPError:
            if sink is None or sink.received == before:
                raise
        finally:
            response.close()
            response.release_conn()
        return sink

    def _stat(self, bucket: str, name: str) -> Any:
        """What the server knows of an object; None where there is none. The answer does not tell a missing bucket."""
        try:
            return self._client.stat_object(bucket_name=bucket, object_name=name)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            if not self._client.bucket_exists(bucket_name=bucket):
                raise no_bucket(bucket, self._endpoint) from None
            return None

    def _labels(self, bucket: str, name: str) -> dict[str, str]:
        found = self._stat(bucket, name)
        if not found:
            return {}
        metadata = {header.lower(): value for header, value in (found.metadata or {}).items()}
        labels = {header.removeprefix(_USER): text for header, text in metadata.items() if header.startswith(_USER)}
        tags: Mapping[str, str] = {}
        try:
            tags = self._client.get_object_tags(bucket_name=bucket, object_name=name) or {}
        except S3Error as error:
            if error.code != "NoSuchKey":  # it was deleted a moment ago
                raise
        return {tag.lower(): text for tag, text in tags.items()} | labels

    def _names(self, bucket: str, prefix: str) -> list[str]:
        found = self._client.list_objects(bucket_name=bucket, prefix=prefix, recursive=True)
        return [entry.object_name for entry in found]

    def _delete_all(self, bucket: str, prefix: str) -> int:
        names = self._names(bucket, prefix)
        for failure in self._client.remove_objects(
            bucket_name=bucket, delete_object_list=(DeleteObject(name) for name in names)
        ):
            raise StoreError(f"could not delete {failure.name} from {bucket}: {failure.message}")
        return len(names)


def _some(found: Iterator[Any]) -> Iterator[Any]:
    """As many as one request brings."""
    for _, entry in zip(range(1000), found, strict=False):
        yield entry
