"""JetStreamStore: the ObjectStore in buckets of NATS JetStream.

It keeps the layout of the JetStream Object Store (ADR-20), so that `nats object ls` and `get` see it: an object's bytes
are messages on `$O.<bucket>.C.<nuid>`, its record is one message on `$O.<bucket>.M.<base64 of key>`. It replaces
nats-py's own object store, which reads a few MB/s into memory and can wait for ever.
"""

import asyncio
import errno
import io
import secrets
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import nats.errors

from schemas.objects import Version
from v2t_stream.broker import error_codes
from v2t_stream.broker.requests import Requests
from v2t_stream.errors import BrokerError, Denied, ObjectMissing, Refused, StoreAway, StoreError, Taken
from v2t_stream.store.jetstream_bucket import AT_ONCE, Bucket
from v2t_stream.store.protocol import MEDIA, MODELS, TRANSCRIPTS, UPLOADED, UPLOADS, VOICES
from v2t_stream.store.record import Copy, sha256_of

_NO_BUCKET: Final = "the NATS server has no such bucket, or JetStream is off there: try v2t topology apply"

# Reads of parts at a time, of a few MB each: the server cuts off a client for whom more than 64 MB wait.
_READS: Final = 8

_HOLDS: Final = {  # for people who look at the buckets, as `nats object ls` shows them
    "media": "media that was fetched, and chunks of it, until they expire",
    UPLOADED: "media that people sent, until it expires",
    "transcripts": "transcripts in every format",
    "models": "models that the machines of the fleet share",
    "voices": "voices of people whom jobs may name: v2t voices list",
}


class JetStreamStore:
    """ObjectStore in JetStream buckets. `timeout`: seconds without progress until a step gives up."""

    def __init__(self, requests: Requests, *, timeout: float = 30.0) -> None:
        requests = Requests(requests.client, requests.url, patience=timeout, again=requests.again)
        self._reading = asyncio.Semaphore(_READS)
        names = {"media": MEDIA, UPLOADED: UPLOADS, "transcripts": TRANSCRIPTS, "models": MODELS, "voices": VOICES}
        self._buckets = {
            top: Bucket(requests, name, timeout, once=top == UPLOADED, holds=_HOLDS[top]) for top, name in names.items()
        }

    async def create(
        self, *, media_max_age: float, transcript_max_age: float = 0, replicas: int = 1, keep: bool = False
    ) -> None:
        with _told("create the buckets of the object store"):
            await self._buckets["media"].create(media_max_age, replicas, keep=keep)
            await self._buckets[UPLOADED].create(media_max_age, replicas, keep=keep)
            await self._buckets["transcripts"].create(transcript_max_age, replicas, keep=keep)
            for top in ("models", "voices"):
                await self._buckets[top].create(0, replicas, keep=keep)

    async def lifetimes(self) -> dict[str, float]:
        with _told("look up the buckets of the object store"):
            ages = {name: await bucket.max_age() for name, bucket in self._buckets.items()}
        return {name: max_age for name, max_age in ages.items() if max_age is not None}

    async def put_file(self, key: str, path: Path, *, sha256: str = "") -> None:  # noqa: ARG002  # computes it itself
        with _told(f"store {path} as {key}"), await asyncio.to_thread(path.open, "rb") as source:
            await self._bucket(key).upload(key, source)

    async def put(self, key: str, data: bytes) -> None:
        with _told(f"store {key}"):
            await self._bucket(key).upload(key, io.BytesIO(data))

    async def put_new(self, key: str, data: bytes) -> bool:
        if not key.startswith(f"{UPLOADED}/"):
            raise StoreError(f"could not store {key}: only below {UPLOADED}/ does an object keep its name")
        try:
            await self.put(key, data)
        except Taken:
            return False
        return True

    async def get_file(self, key: str, path: Path, *, version: Version | None = None) -> None:  # noqa: ARG002  # our keys are never reused
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with _told(f"fetch {key} into {path}"):
            try:
                with await asyncio.to_thread(part.open, "xb") as sink:
                    await self._download(key, sink)
                await asyncio.to_thread(part.replace, path)
            finally:
                part.unlink(missing_ok=True)

    async def get(self, key: str) -> bytes:
        sink = io.BytesIO()
        with _told(f"fetch {key}"):
            await self._download(key, sink)
        return sink.getvalue()

    async def read(self, key: str, start: int, length: int, *, version: Version | None = None) -> bytes:  # noqa: ARG002  # as above
        async with self._reading:
            return await self._part(key, start, length)

    async def _part(self, key: str, start: int, length: int) -> bytes:
        with _told(f"read {key}"):
            record, _ = await self._bucket(key).record(key)
            if not record or record.deleted:
                raise ObjectMissing(_missing(key))
            wanted = max(0, min(length, record.size - start))
            found = await self._bucket(key).part(record, start, wanted) if wanted else b""
        if len(found) < wanted:
            raise StoreError(f"{key} was replaced during the read, or some of its data is lost: read it again")
        return found

    async def size(self, key: str) -> int | None:
        with _told(f"look up {key}"):
            record, _ = await self._bucket(key).record(key)
        return record.size if record and not record.deleted else None

    async def sha256(self, key: str) -> str | None:
        with _told(f"look up {key}"):
            record, _ = await self._bucket(key).record(key)
        return sha256_of(record.digest).hex() or None if record and not record.deleted else None

    async def keys(self, prefix: str) -> list[str]:
        with _told(f"list {prefix}"):
            return [key for key in await self._bucket(prefix).keys() if key.startswith(prefix)]

    async def delete(self, key: str) -> None:
        with _told(f"delete {key}"):
            await self._bucket(key).delete(key)

    async def delete_prefix(self, prefix: str) -> int:
        bucket, keys = self._bucket(prefix), await self.keys(prefix)
        with _told(f"delete {prefix}"):
            for start in range(0, len(keys), AT_ONCE):
                await asyncio.gather(*map(bucket.delete, keys[start : start + AT_ONCE]))
        return len(keys)

    async def sweep(self, top: str, *, idle: float = 3600.0) -> int:
        """Remove what killed writers left in a bucket without expiry; returns how many uploads.

        idle: seconds since an upload's last chunk, well above any pause of a live one.
        """
        bucket = self._buckets[top]
        with _told(f"sweep {top}/"):
            return 0 if await bucket.max_age() else await bucket.sweep(idle)

    def _bucket(self, key: str) -> Bucket:
        top, slash, _ = key.partition("/")
        if top not in self._buckets or not slash:
            raise StoreError(f"invalid key {key!r}: it must start with media/, transcripts/, models/ or voices/")
        return self._buckets[UPLOADED if key.startswith(f"{UPLOADED}/") else top]

    async def _download(self, key: str, sink: BinaryIO) -> None:
        """Write the object into `sink` and check it; if it is replaced meanwhile, start over once."""
        bucket = self._bucket(key)
        for of_leader in (False, True):
            record, _ = await bucket.record(key, of_leader=of_leader)
            if not record or record.deleted:
                raise ObjectMissing(_missing(key))
            copy = Copy(sink)
            async with aclosing(bucket.data(record)) as batches:
                async for batch in batches:
                    if record.chunks == 1:
                        copy.take(batch)  # switching threads would take longer
                    else:
                        await asyncio.to_thread(copy.take, batch)
            if copy.chunks == record.chunks:
                if copy.digest() != record.digest:
                    raise StoreError(f"{key} is damaged in the store (its SHA-256 does not match): store it again")
                return
        raise StoreError(f"{key} was replaced during the read, or some of its data is lost: read it again")


def _missing(key: str) -> str:
    return f"the store has no object {key}: it expired, was deleted or was never stored"


@contextmanager
def _told(action: str) -> Iterator[None]:
    """Turn foreign exceptions into StoreError: what could not be done, why, and what to do."""
    try:
        yield
    except Denied:
        raise
    except Refused as error:
        raise StoreError(f"could not {action}: {_why(error)}") from error
    except BrokerError as error:
        raise StoreAway(f"could not {action}: {error}") from error
    except nats.errors.NoRespondersError as error:
        raise StoreError(f"could not {action}: {_NO_BUCKET}") from error
    except TimeoutError as error:  # nats-py's too; before OSError, its base class
        why = "the NATS server did not answer: is it up, and is this user allowed to use the object store?"
        raise StoreAway(f"could not {action}: {why}") from error
    except nats.errors.Error as error:
        raise StoreAway(f"could not {action}: {str(error).removeprefix('nats: ')}") from error
    except OSError as error:
        what = ": free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreError(f"could not {action}: {error.strerror or error}{what}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StoreError(f"could not {action}: its record in the store cannot be read ({error})") from error


def _why(error: Refused) -> str:
    if error.code == error_codes.NO_STREAM:
        return _NO_BUCKET
    # The server reports a full disk only in words.
    if error.code in error_codes.NO_ROOM or "no space" in error.description:
        return (
            f"the NATS server has no room left ({error.description}): free disk space there or raise its max_file_store"
        )
    return error.description
