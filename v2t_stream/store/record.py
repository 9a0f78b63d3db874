"""The layout of a JetStream bucket (ADR-20): the subjects of an object, its record, and the digest of its bytes."""

import base64
import hashlib
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """ADR-20's ObjectInfo, reduced to the fields that v2t uses.

    Anybody who may send a file may write a record, and its nuid becomes part of a subject that v2t purges.
    """

    name: str
    bucket: str = ""
    nuid: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*\Z")] = ""
    size: Annotated[int, Meta(ge=0)] = 0  # bytes
    chunks: Annotated[int, Meta(ge=0)] = 0
    digest: Annotated[str, Meta(pattern=r"^(SHA-256=[A-Za-z0-9_-]{43}=)?\Z")] = ""  # base64, the URL alphabet
    mtime: str = ""
    deleted: bool = False  # other clients leave such records
    options: dict[str, Any] | None = None


class Copy:
    """Writes into `sink` from its beginning, and hashes."""

    def __init__(self, sink: BinaryIO) -> None:
        sink.seek(0)
        sink.truncate()
        self._sink = sink
        self._hash = hashlib.sha256()
        self.chunks = 0

    def take(self, batch: list[bytes]) -> None:
        for data in batch:
            self._hash.update(data)
            self._sink.write(data)
        self.chunks += len(batch)

    def digest(self) -> str:
        return digest_of(self._hash.digest())


def digest_of(sha256: bytes) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(sha256).decode()}"


def sha256_of(digest: str) -> bytes:
    """The inverse of `digest_of`."""
    return base64.urlsafe_b64decode(digest.removeprefix("SHA-256="))


def data_subject(bucket: str, nuid: str) -> str:
    """The subject of an object's bytes, one message per chunk."""
    return f"$O.{bucket}.C.{nuid}"


def record_subject(bucket: str, key: str) -> str:
    """The subject of an object's record."""
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(key.encode()).decode()}"


def key_of(subject: str) -> str | None:
    """The key in a record's subject; None if it is malformed, because anybody who may send a file can write one."""
    try:
        return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
    except ValueError:
        return None
