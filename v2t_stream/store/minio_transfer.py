"""One object to or from an S3 server, its bytes checked.

Each object carries the XXH3 hash of its bytes as metadata. It comes from the source before the upload, and each read
checks it. Unlike an ETag it does not depend on the size of parts or on encryption. It finds damage, not malice: writers
of objects can write metadata too. A SHA-256 would cost a tenth of the whole transfer each way, besides the
SDK's own for every part, which the server checks; if the caller has one anyway, it is stored too.

All functions block, and end when `stopped` is set.
"""

import hashlib
import io
import mimetypes
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, NamedTuple

from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError
from xxhash import xxh3_128

from schemas.objects import Version
from v2t_stream.errors import StoreError, VersionGone

SIDE_BY_SIDE: Final = 3  # parts of one object sent in parallel
USER: Final = "x-amz-meta-"  # prefix of an object's metadata headers
SHA256: Final = "v2t-sha256"
_XXH3: Final = "v2t-xxh3-128"  # 32 hex digits
_BLOCK: Final = 256 << 10  # bytes per read, which fit the processor's cache
_PART: Final = 8 << 20  # bytes of one part; smaller objects take one request
_PARTS: Final = 10_000  # S3's limit for one object
_UPLOADS: Final = 3  # tries of an object that the server says it has stored and has not
_UNREADABLE: Final = 416  # the HTTP status for a range of an empty object


class Place(NamedTuple):
    """An object of one bucket; `key` is our name for it."""

    bucket: str
    name: str
    key: str


class Stopped(Exception):
    """The caller no longer waits for this."""


class Source:
    """A file that stops reading when nobody waits for it."""

    def __init__(self, file: BinaryIO, stopped: threading.Event) -> None:
        self._file = file
        self._stopped = stopped

    def read(self, length: int) -> bytes:
        if self._stopped.is_set():
            raise Stopped
        return self._file.read(length)

    def rewind(self) -> None:
        self._file.seek(0)

    def xxh3(self) -> tuple[str, int]:
        """The hash and the size of the rest of the file; restores its position."""
        xxh3 = xxh3_128()
        while block := self.read(_BLOCK):
            xxh3.update(block)
        size = self._file.tell()
        self.rewind()
        return xxh3.hexdigest(), size


class Sink:
    """Writes an object from its start, and knows what its bytes must hash to."""

    def __init__(self, file: BinaryIO, headers: Mapping[str, str]) -> None:
        file.seek(0)
        file.truncate()
        self._file = file
        self.received = 0
        self.size = int(headers["Content-Length"])
        self.etag = headers["ETag"]
        digest = headers.get(USER + _XXH3)
        etag = self.etag.strip('"')
        # For other people's objects the ETag is the MD5 if they were sent in one part and unencrypted.
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


def upload(client: Minio, place: Place, source: Source, labels: Mapping[str, str]) -> None:
    """Store the object with these labels, and replace any of its name.

    Several parts are sent again if the object is not there in the end: a server that was killed while it put them
    together may say, once it is up again, that it has (the Versity gateway does).
    """
    xxh3, size = source.xxh3()
    metadata = {_XXH3: xxh3, **labels}
    for _ in range(_UPLOADS):
        _send(client, place, source, size, metadata)
        if size <= _PART or _is_there(client, place, xxh3, size):
            return
        source.rewind()
    raise StoreError(f"the server says that it stored {place.key}, and has no such object: look at its log")


def _is_there(client: Minio, place: Place, xxh3: str, size: int) -> bool:
    found = head(client, place)
    return bool(found and found.size == size and (found.metadata or {}).get(USER + _XXH3) == xxh3)


def _send(client: Minio, place: Place, source: Source, size: int, metadata: Mapping[str, str]) -> None:
    try:
        client.put_object(
            bucket_name=place.bucket,
            object_name=place.name,
            data=source,  # type: ignore[arg-type]  # it needs only read()
            length=size,
            content_type=_content_type(place),
            metadata=dict(metadata),
            part_size=max(_PART, -(-size // _PARTS)),
            num_parallel_uploads=SIDE_BY_SIDE,
        )
    except S3Error as error:
        if error.code != "NoSuchUpload":
            raise
        # The SDK completed it twice, because the first answer was lost with the server.
        if not _is_there(client, place, metadata[_XXH3], size):
            # Or the server ended it first, and the SDK reports that instead of the reason.
            reason = error.__context__
            raise reason if isinstance(reason, S3Error) else error from None


def upload_new(client: Minio, place: Place, data: bytes, labels: Mapping[str, str]) -> bool:
    """Store a small object if its name is free; of several calls at once one succeeds, and the others return False."""
    metadata = {USER + name: text for name, text in {_XXH3: xxh3_128(data).hexdigest(), **labels}.items()}
    headers: Any = {"If-None-Match": "*", "Content-Type": _content_type(place), **metadata}
    try:
        # The public call has no condition.
        client._put_object(place.bucket, place.name, data, headers)  # noqa: SLF001
    except S3Error as error:
        if error.code not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise
        return False
    return True


def download(client: Minio, place: Place, file: BinaryIO, stopped: threading.Event, version: Version) -> None:
    """Write the object into `file` and check it; resume after an interruption, unless the object was replaced.

    With a `version`, read exactly that one; raises VersionGone if it no longer exists.
    """
    sink: Sink | None = None
    for _ in range(2):
        try:
            while sink is None or sink.received < sink.size:
                sink = _receive(client, place, file, sink=sink, stopped=stopped, version=version)
        except S3Error as error:
            if error.code != "PreconditionFailed":
                raise
            if version.etag:
                raise _gone(place) from error
            sink = None
        else:
            if sink.is_damaged():
                raise StoreError(f"{place.key} is damaged (its checksum does not match): store it again")
            return
    raise StoreError(f"{place.key} was replaced several times during the read: read it again")


def part(client: Minio, place: Place, start: int, length: int, version: Version) -> bytes:
    """At most `length` bytes of the object from `start` on, unchecked. Raises VersionGone."""
    if not length:  # the SDK would take it for all
        return b""
    file = io.BytesIO()
    headers: Any = {"If-Match": f'"{version.etag}"'} if version.etag else None
    try:
        response = client.get_object(
            bucket_name=place.bucket,
            object_name=place.name,
            offset=start,
            length=length,
            request_headers=headers,
            version_id=version.id or None,
        )
    except S3Error as error:
        if error.code == "PreconditionFailed":
            raise _gone(place) from error
        if error.response.status != _UNREADABLE:
            raise
        return b""
    try:
        for block in response.stream(_BLOCK):
            file.write(block)
    finally:
        response.close()
        response.release_conn()
    return file.getvalue()


def head(client: Minio, place: Place, version: Version = Version()) -> Any:  # noqa: B008  # it cannot change
    """What the server knows of an object, or of that version of it; None if it does not exist.

    The answer does not reveal a missing bucket. Raises VersionGone if there is another version.
    """
    try:
        found = client.stat_object(bucket_name=place.bucket, object_name=place.name, version_id=version.id or None)
    except S3Error as error:
        if error.code == "BadRequest":  # HEAD answers have no body; GET says why
            client.get_object(bucket_name=place.bucket, object_name=place.name, length=1).close()
        if error.code != "NoSuchKey":
            raise
        return None
    if version.etag and found.etag != version.etag:
        raise _gone(place)
    return found


def kept_version(client: Minio, place: Place, version: Version) -> Version | None:
    """The same version with its id, if the bucket still keeps it after a replacement."""
    if version.id:
        return None
    found = client.list_objects(bucket_name=place.bucket, prefix=place.name, include_version=True)
    kept = (
        Version(etag=version.etag, id=entry.version_id)
        for entry in found
        if (entry.object_name, entry.etag) == (place.name, version.etag) and entry.version_id not in (None, "null")
    )
    try:
        return next(kept, None)
    except ValueError:  # from the SDK, for a delete marker of the Versity gateway, whose time has nanoseconds
        return None


def _gone(place: Place) -> VersionGone:
    return VersionGone(f"{place.key} was replaced by a later upload, which has its own job")


def _content_type(place: Place) -> str:
    return mimetypes.guess_type(place.name)[0] or "application/octet-stream"


def _receive(
    client: Minio, place: Place, file: BinaryIO, *, sink: Sink | None, stopped: threading.Event, version: Version
) -> Sink:
    """Read on from the end of `sink` while the connection holds; raises if it brings nothing."""
    before = sink.received if sink else 0
    etag = sink.etag if sink else f'"{version.etag}"' if version.etag else ""
    headers: Any = {"If-Match": etag} if etag else None
    response = client.get_object(
        bucket_name=place.bucket,
        object_name=place.name,
        offset=before,
        request_headers=headers,
        version_id=version.id or None,
    )
    try:
        sink = sink or Sink(file, response.headers)
        for block in response.stream(_BLOCK):
            if stopped.is_set():
                raise Stopped
            sink.write(block)
    except HTTPError:
        if sink is None or sink.received == before:
            raise
    finally:
        response.close()
        response.release_conn()
    return sink
