"""MinioStore: the ObjectStore in buckets of MinIO or another S3 server, and the bucket whose uploads start jobs."""

import asyncio
import io
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from schemas.notification import Upload, version_of
from schemas.objects import Version
from v2t_stream.errors import InvalidKey, StoreAway, StoreError, VersionGone
from v2t_stream.settings import Settings
from v2t_stream.store import minio_buckets
from v2t_stream.store.minio_client import explained, no_bucket, open_client
from v2t_stream.store.minio_threads import COUNT, Threads
from v2t_stream.store.minio_transfer import (
    SHA256,
    SIDE_BY_SIDE,
    USER,
    Place,
    Source,
    download,
    head,
    kept_version,
    part,
    upload,
    upload_new,
)
from v2t_stream.store.protocol import OURS, Found

_LONGEST: Final = 1024  # bytes of a key in S3
_TOPS: Final = ("media", "transcripts", "models", "voices")  # the first step of our keys
_TAGS: Final = "x-amz-tagging-count"  # number of tags; absent if it is 0
_RULE: Final = "v2t-{}"  # the name of our lifecycle rule in each bucket

T = TypeVar("T")


class MinioStore:
    """ObjectStore in buckets of an S3 server. `timeout`: seconds without an answer until a step gives up.

    A key `s3://bucket/name` means an object of any bucket; `media/…` and the other tops are in ours.
    """

    def __init__(self, settings: Settings, *, timeout: float = 30.0) -> None:
        self._endpoint = settings.minio_endpoint
        self._prefix = settings.minio_bucket_prefix
        self._uploads = settings.upload_bucket
        self._threads = Threads()
        with self._explained("use MinIO"):
            self._client = open_client(settings, connections=COUNT + SIDE_BY_SIDE, timeout=timeout)

    async def create(
        self,
        *,
        media_max_age: float,
        transcript_max_age: float = 0,
        replicas: int = 1,  # noqa: ARG002  # MinIO's own affair
        keep: bool = False,
    ) -> None:
        """Create missing buckets, and expire their objects after the given seconds; 0: never.

        S3 counts whole days, so seconds are rounded up. Other rules stay. Doing it again changes nothing.
        """
        with self._explained("create the buckets"):
            for top, max_age in (("media", media_max_age), ("transcripts", transcript_max_age)):
                bucket, rule = self._bucket(top), _RULE.format(top)
                created = await self._ask(minio_buckets.create, bucket)
                # If media never expire, the process that created the bucket died before it set the rule.
                if created or not keep or (top == "media" and not await self._ask(minio_buckets.max_age, bucket, rule)):
                    await self._ask(minio_buckets.expire, bucket, rule, max_age)
            for bucket in (self._bucket("models"), self._bucket("voices"), self._uploads):
                await self._ask(minio_buckets.create, bucket)

    async def lifetimes(self) -> dict[str, float]:
        with self._explained("look up the buckets"):
            ages = {top: await self._ask(minio_buckets.max_age, self._bucket(top), _RULE.format(top)) for top in _TOPS}
        return {top: max_age for top, max_age in ages.items() if max_age is not None}

    async def announces_uploads(self) -> minio_buckets.Announces:
        """What the server publishes to NATS about uploads to the upload bucket."""
        with self._explained(f"look up the notifications of {self._uploads}"):
            return await self._ask(minio_buckets.announces, self._uploads)

    async def announce_uploads(self) -> None:
        """Have the server publish uploads to the upload bucket; its other notifications stay.

        Raises StoreError if the server is not set up to publish to NATS.
        """
        with self._explained(f"have MinIO announce uploads to {self._uploads}"):
            await self._ask(minio_buckets.announce, self._uploads)

    async def uploads(self) -> AsyncGenerator[list[Upload]]:
        """The objects in the upload bucket, a page at a time; without versions, which need a request each."""
        with self._explained(f"list {self._uploads}"):
            found = self._client.list_objects(bucket_name=self._uploads, recursive=True)
            while page := await self._threads.run(lambda _: list(_some(found))):
                yield [
                    Upload(bucket=self._uploads, key=entry.object_name, etag=(entry.etag or "").strip('"'))
                    for entry in page
                ]

    async def keeps_versions(self) -> bool:
        """Whether the upload bucket keeps, or has kept, replaced versions."""
        with self._explained(f"look up {self._uploads}"):
            config = await self._threads.run(lambda _: self._client.get_bucket_versioning(bucket_name=self._uploads))
        return config.status in ("Enabled", "Suspended")

    async def put_file(self, key: str, path: Path, *, sha256: str = "") -> None:
        with self._explained(f"store {path} as {key}"), await asyncio.to_thread(path.open, "rb") as source:
            place, labels = self._place(key), _labels(key, sha256)
            await self._threads.run(lambda stopped: upload(self._client, place, Source(source, stopped), labels))

    async def put(self, key: str, data: bytes) -> None:
        with self._explained(f"store {key}"):
            place, labels, source = self._place(key), _labels(key), io.BytesIO(data)
            await self._threads.run(lambda stopped: upload(self._client, place, Source(source, stopped), labels))

    async def put_new(self, key: str, data: bytes) -> bool:
        with self._explained(f"store {key}"):
            return await self._ask(upload_new, self._place(key), data, _labels(key))

    async def get_file(self, key: str, path: Path, *, version: Version | None = None) -> None:
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with self._explained(f"fetch {key} into {path}"):
            place, version = self._place(key), version or Version()
            try:
                with await asyncio.to_thread(part.open, "xb") as file:
                    await self._threads.run(lambda stopped: download(self._client, place, file, stopped, version))
                await asyncio.to_thread(part.replace, path)
            finally:
                part.unlink(missing_ok=True)

    async def get(self, key: str) -> bytes:
        file = io.BytesIO()
        with self._explained(f"fetch {key}"):
            place = self._place(key)
            await self._threads.run(lambda stopped: download(self._client, place, file, stopped, Version()))
        return file.getvalue()

    async def read(self, key: str, start: int, length: int, *, version: Version | None = None) -> bytes:
        with self._explained(f"read {key}"):
            return await self._ask(part, self._place(key), start, length, version or Version())

    async def size(self, key: str) -> int | None:
        found = await self.look(key)
        return found.size if found else None

    async def sha256(self, key: str) -> str | None:
        """From the label that its writer set."""
        found = await self.look(key)
        return found.labels.get(SHA256) if found else None

    async def look(self, key: str, version: Version | None = None) -> Found | None:
        with self._explained(f"look up {key}"):
            place = self._place(key)
            found = await self._threads.run(lambda _: self._head(place, version or Version()))
        if not found:
            return None
        metadata = {header.lower(): value for header, value in (found.metadata or {}).items()}
        labels = {header.removeprefix(USER): text for header, text in metadata.items() if header.startswith(USER)}
        version = Version(etag=found.etag, id=version_of(found.version_id))
        return Found(found.size, version, labels, is_tagged=metadata.get(_TAGS, "0") != "0")

    async def tags(self, key: str, version: Version | None = None) -> dict[str, str]:
        with self._explained(f"look up {key}"):
            place = self._place(key)
            return await self._threads.run(lambda _: self._tags(place, version or Version()))

    async def keys(self, prefix: str) -> list[str]:
        bucket, start, _ = self._place(prefix)
        top = prefix.removesuffix(start)
        with self._explained(f"list {prefix}"):
            return [top + name for name in await self._threads.run(lambda _: self._names(bucket, start))]

    async def folders(self, prefix: str) -> set[str]:
        """The next steps of keys that begin with `prefix`, such as the jobs with transcripts."""
        bucket, start, _ = self._place(prefix)
        with self._explained(f"list {prefix}"):
            names = await self._threads.run(lambda _: self._names(bucket, start, recursive=False))
        return {name.rstrip("/") for name in names if name.endswith("/")}

    async def delete(self, key: str) -> None:
        with self._explained(f"delete {key}"):
            bucket, name, _ = self._place(key)
            await self._threads.run(lambda _: self._client.remove_object(bucket_name=bucket, object_name=name))

    async def delete_prefix(self, prefix: str) -> int:
        bucket, start, _ = self._place(prefix)
        with self._explained(f"delete {prefix}"):
            return await self._threads.run(lambda _: self._delete(bucket, self._names(bucket, start)))

    async def sweep(self, top: str, *, idle: float = 0) -> int:  # noqa: ARG002  # the server itself handles partial objects
        """Remove expired objects on a server without lifecycle rules."""
        with self._explained("remove expired objects"):
            bucket = self._bucket(top)
            return await self._threads.run(
                lambda _: self._delete(bucket, list(minio_buckets.expired(self._client, bucket)))
            )

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            with explained(action, self._endpoint):
                yield
        except StoreAway as away:
            self._threads.note(away)
            raise

    def _bucket(self, top: str) -> str:
        return self._prefix + top

    def _place(self, key: str) -> Place:
        """Raises InvalidKey for a name that no object can have: a `..` in a URL resolves to another path."""
        bucket, _, name = key.removeprefix("s3://").partition("/")
        if not key.startswith("s3://"):
            if bucket not in _TOPS or "/" not in key:
                raise StoreError(f"invalid key {key!r}: it must start with {', '.join(f'{top}/' for top in _TOPS)}")
            bucket = self._bucket(bucket)
        if "\0" in name or {".", ".."} & set(name.split("/")) or len(name.encode(errors="replace")) > _LONGEST:
            raise InvalidKey(
                f"invalid object name {key[:200]!r}: it must not contain . or .. steps or exceed {_LONGEST} bytes"
            )
        return Place(bucket, name, key)

    async def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        """The result of `call` with the client and `arguments`."""
        return await self._threads.run(lambda _: call(self._client, *arguments))

    def _head(self, place: Place, version: Version) -> Any:
        """What the server knows of an object; None if it does not exist."""
        try:
            found = head(self._client, place, version)
        except VersionGone:
            kept = kept_version(self._client, place, version)
            if not kept:
                raise
            found = head(self._client, place, kept)
        if not found and not self._client.bucket_exists(bucket_name=place.bucket):
            raise no_bucket(place.bucket, self._endpoint)
        return found

    def _tags(self, place: Place, version: Version) -> dict[str, str]:
        try:
            tags = self._client.get_object_tags(
                bucket_name=place.bucket, object_name=place.name, version_id=version.id or None
            )
        except S3Error as error:
            if error.code not in ("NoSuchKey", "NoSuchVersion", "NoSuchTagSet"):  # it was deleted a moment ago
                raise
            return {}
        return {tag.lower(): text for tag, text in (tags or {}).items()}

    def _names(self, bucket: str, prefix: str, *, recursive: bool = True) -> list[str]:
        found = self._client.list_objects(bucket_name=bucket, prefix=prefix, recursive=recursive)
        return [entry.object_name for entry in found if entry.object_name]

    def _delete(self, bucket: str, names: list[str]) -> int:
        """Delete these; returns how many there were."""
        for failure in self._client.remove_objects(
            bucket_name=bucket, delete_object_list=(DeleteObject(name) for name in names)
        ):
            raise StoreError(f"could not delete {failure.name} from {bucket}: {failure.message}")
        return len(names)


def _labels(key: str, sha256: str = "") -> Mapping[str, str]:
    """The labels of our objects: in somebody else's bucket they say that the object is ours."""
    return {**({SHA256: sha256} if sha256 else {}), **({OURS: "yes"} if key.startswith("s3://") else {})}


def _some(found: Iterator[Any]) -> Iterator[Any]:
    """One request's worth of items."""
    for _, entry in zip(range(1000), found, strict=False):
        yield entry
