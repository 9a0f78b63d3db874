"""Where media and transcripts lie: the ObjectStore protocol, and its embedded form on NATS JetStream.

JetStreamStore keeps the layout of the JetStream Object Store (ADR-20), so that `nats object ls` and `get` see it:
an object's bytes are messages on `$O.<bucket>.C.<nuid>`, its record is one message on `$O.<bucket>.M.<base64 of key>`.
nats-py's own object store reads a few MB/s into memory and can wait for ever, hence this one.
"""

import asyncio
import base64
import errno
import hashlib
import io
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.errors import APIError

from v2t_stream.errors import ObjectMissing, StoreError

MEDIA: Final = "v2t_media"
TRANSCRIPTS: Final = "v2t_transcripts"

_HEADROOM: Final = 4096  # bytes of a message left to its headers
_CHUNK: Final = (1 << 20) - _HEADROOM  # bytes: the FLAC of 30 s is one message on a server with default limits
_IN_FLIGHT: Final = 8  # chunks sent and not yet known to be stored
_WINDOW: Final = 4 << 20  # bytes asked for at once; at most two windows wait in memory
_COMMITS: Final = 100  # times that another writer of the same key may come in between
_AT_ONCE: Final = 64  # small requests side by side

# JetStream error codes
_WRONG_SEQUENCE: Final = (10071, 10164)
_NAME_IN_USE: Final = 10058
_NO_MESSAGE: Final = 10037
_NO_SPACE: Final = (10023, 10047)


class ObjectStore(Protocol):
    """Objects by key: `media/<job>/…`, which expires, and `transcripts/<job>/…`, which stays.

    An object is there as a whole or not at all. Putting it again replaces it; of two puts at once the last to end
    stays. Every wait is bounded. All raise StoreError; reading what is not there raises ObjectMissing.
    """

    async def put_file(self, key: str, path: Path) -> None: ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def get_file(self, key: str, path: Path) -> None:
        """Write the object to `path`, in a directory that exists; the file appears complete or not at all."""

    async def get(self, key: str) -> bytes: ...

    async def size(self, key: str) -> int | None:
        """Bytes of the object; None where there is none."""

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all objects whose keys begin so, as in `media/<job>/`; how many there were."""


class JetStreamStore:
    """ObjectStore in two JetStream buckets. `timeout`: seconds without progress until a step gives up."""

    def __init__(self, client: Client, *, timeout: float = 30.0) -> None:
        self._buckets = {"media": _Bucket(client, MEDIA, timeout), "transcripts": _Bucket(client, TRANSCRIPTS, timeout)}

    async def create(self, *, media_max_age: float, replicas: int = 1) -> None:
        """Create or update both buckets; doing it again changes nothing. `media_max_age`: seconds media are kept."""
        with _told("create the buckets of the object store"):
            await self._buckets["media"].create(media_max_age, replicas)
            await self._buckets["transcripts"].create(0, replicas)

    async def put_file(self, key: str, path: Path) -> None:
        with _told(f"store {path} as {key}"), await asyncio.to_thread(path.open, "rb") as source:
            await self._bucket(key).upload(key, source)

    async def put(self, key: str, data: bytes) -> None:
        with _told(f"store {key}"):
            await self._bucket(key).upload(key, io.BytesIO(data))

    async def get_file(self, key: str, path: Path) -> None:
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

    async def size(self, key: str) -> int | None:
        with _told(f"look up {key}"):
            record, _ = await self._bucket(key).record(key)
        return record.size if record and not record.deleted else None

    async def delete(self, key: str) -> None:
        with _told(f"delete {key}"):
            await self._bucket(key).delete(key)

    async def delete_prefix(self, prefix: str) -> int:
        bucket = self._bucket(prefix)
        with _told(f"delete {prefix}"):
            keys = [key for key in await bucket.keys() if key.startswith(prefix)]
            for start in range(0, len(keys), _AT_ONCE):
                await asyncio.gather(*map(bucket.delete, keys[start : start + _AT_ONCE]))
        return len(keys)

    async def sweep(self, *, idle: float = 3600.0) -> int:
        """Remove what killed writers left of unfinished transcripts (among the media it expires); how many uploads.

        idle: seconds since an upload's last chunk, well above any pause that a living one makes.
        """
        with _told("sweep the transcripts"):
            return await self._buckets["transcripts"].sweep(idle)

    def _bucket(self, key: str) -> "_Bucket":
        top, slash, _ = key.partition("/")
        if top not in self._buckets or not slash:
            raise StoreError(f"{key!r} is no key of this store: keys begin with {' or '.join(self._buckets)} and /")
        return self._buckets[top]

    async def _download(self, key: str, sink: BinaryIO) -> None:
        """Write the object into `sink` and check it; where it is replaced meanwhile, once more from the start."""
        bucket = self._bucket(key)
        for of_leader in (False, True):
            record, _ = await bucket.record(key, of_leader=of_leader)
            if not record or record.deleted:
                raise ObjectMissing(f"there is no object {key} in the store: it expired, was deleted or never stored")
            copy = _Copy(sink)
            async with aclosing(bucket.data(record)) as batches:
                async for batch in batches:
                    await asyncio.to_thread(copy.take, batch)
            if copy.chunks == record.chunks:
                if copy.digest() != record.digest:
                    raise StoreError(f"{key} is damaged in the store (its SHA-256 does not match): store it again")
                return
        raise StoreError(f"{key} was replaced while it was read, or some of its data is lost: read it again")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """ADR-20's ObjectInfo, without what this program does not use."""

    name: str
    bucket: str = ""
    nuid: str = ""
    size: int = 0  # bytes
    chunks: int = 0
    digest: str = ""  # SHA-256=<base64, the URL alphabet, padded>
    mtime: str = ""
    deleted: bool = False  # other clients leave such a record behind
    options: dict[str, Any] | None = None


class _Copy:
    """What was written into `sink`, from its beginning."""

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
        return _digest(self._hash.digest())


class _Bucket:
    """One bucket on the wire. Raises the exceptions of nats-py; `_told` makes one sentence of them."""

    def __init__(self, client: Client, name: str, timeout: float) -> None:
        self._client = client
        self._name = name
        self._stream = f"OBJ_{name}"
        self._timeout = timeout

    async def create(self, max_age: float, replicas: int) -> None:
        config = {
            "name": self._stream,
            "subjects": [f"$O.{self._name}.C.>", f"$O.{self._name}.M.>"],
            "storage": "file",
            "num_replicas": replicas,
            "max_age": int(max_age * 1e9),
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        try:
            await self._ask(f"$JS.API.STREAM.CREATE.{self._stream}", config)
        except APIError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            await self._ask(f"$JS.API.STREAM.UPDATE.{self._stream}", config)

    async def record(self, key: str, *, of_leader: bool = False) -> tuple[_Record | None, int]:
        """Return the record of `key` and its sequence in the stream; None and 0 where there is none.

        Any replica answers a direct get, and one may lag behind: only the leader is believed that there is none.
        """
        subject = self._record_subject(key)
        if not of_leader:
            data, headers = await self._direct(subject)
            if headers:
                return msgspec.json.decode(data, type=_Record), int(headers["Nats-Sequence"])
        try:
            answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except APIError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            return None, 0
        message = answer["message"]
        return msgspec.json.decode(base64.b64decode(message["data"]), type=_Record), message["seq"]

    async def upload(self, key: str, source: BinaryIO) -> None:
        """Send the bytes, then commit them with the record; whatever ends this before leaves the old object."""
        nuid = secrets.token_hex(11)
        subject = self._data_subject(nuid)
        length = min(_CHUNK, self._client.max_payload - _HEADROOM)
        sha256 = hashlib.sha256()
        size = chunks = stored = 0
        committing = False

        def after(sent: bytes) -> bytes:
            sha256.update(sent)
            return source.read(length)

        try:
            async with self._inbox() as acks:
                data = await asyncio.to_thread(source.read, length)
                while data:
                    await self._client.publish(subject, data, reply=acks.subject)
                    size, chunks = size + len(data), chunks + 1
                    data = await asyncio.to_thread(after, data)  # while that chunk travels
                    if chunks - stored == _IN_FLIGHT:
                        stored += await self._ack(acks)
                old, sequence = await self.record(key)  # while the last chunks travel
                while stored < chunks:
                    stored += await self._ack(acks)
            record = _Record(
                name=key,
                bucket=self._name,
                nuid=nuid,
                size=size,
                chunks=chunks,
                digest=_digest(sha256.digest()),
                mtime=datetime.now(UTC).isoformat(),
                options={"max_chunk_size": length},
            )
            committing = True
            replaced = await self._commit(record, old, sequence)
        except BaseException:
            # A commit that got no answer may still happen (nats-py sends what it holds back when it is connected
            # again) and must then find its data.
            if chunks and not committing:
                with suppress(nats.errors.Error):
                    await self._abandon(subject)
            raise
        if replaced and replaced.chunks:
            with suppress(nats.errors.Error):  # the new object is stored, whatever comes of this
                await self._purge(self._data_subject(replaced.nuid))

    async def _commit(self, record: _Record, old: _Record | None, sequence: int) -> _Record | None:
        """Publish the record in place of `old`, or of what came since; returns the one it replaced.

        By expecting a sequence, of two writers each knows what it replaced, and between them all old data goes.
        """
        for _ in range(_COMMITS):
            headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(sequence)}
            try:
                await self._ask(self._record_subject(record.name), record, headers)
            except APIError as error:
                if error.err_code not in _WRONG_SEQUENCE:
                    raise
                old, sequence = await self.record(record.name, of_leader=True)
            else:
                return old
        raise StoreError(f"{record.name} is being written from too many places at once: try again")

    async def _abandon(self, subject: str) -> None:
        """Take back the chunks on `subject`, waiting for no answer: the server may be away, or this task cancelled.

        A purge can overtake the chunks under way, so a rollup follows them in the stream and replaces them by one
        empty message; but a server that is full stores no rollup, and needs the purge.
        """
        await self._client.publish(subject, headers={"Nats-Rollup": "sub"})
        purge = msgspec.json.encode({"filter": subject})
        await self._client.publish(f"$JS.API.STREAM.PURGE.{self._stream}", purge, reply=self._client.new_inbox())

    async def data(self, record: _Record) -> AsyncGenerator[list[bytes], None]:
        """Yield the object's chunks in order, a window of them at most at a time; end early where some are gone."""
        subject = self._data_subject(record.nuid)
        if record.chunks == 1:  # one request instead of a subscription
            data, headers = await self._direct(subject)
            if headers:
                yield [data]
            return

        async def ask(start: int) -> None:
            # One more than is left, as the server marks the end of a batch only where more than one was asked for.
            # What it tells as pending is wrong with no_hdr on 2.15.1: count instead.
            request = {"next_by_subj": subject, "seq": start, "batch": left + 1, "max_bytes": _WINDOW, "no_hdr": True}
            payload = msgspec.json.encode(request)
            await self._client.publish(f"$JS.API.DIRECT.GET.{self._stream}", payload, reply=inbox.subject)

        left = record.chunks
        batch: list[bytes] = []
        async with self._inbox() as inbox:
            if left:
                await ask(1)
            while left > 0:
                message = await inbox.next_msg(self._timeout)
                headers = message.headers or {}
                match headers.get("Status"):
                    case None:
                        batch.append(message.data)
                    case "204" if batch:
                        left -= len(batch)
                        if left > 0:
                            await ask(int(headers["Nats-Last-Sequence"]) + 1)  # travels while this batch is taken
                        yield batch
                        batch = []
                    case "204" | "404":
                        return
                    case status:
                        raise APIError(code=int(status), description=headers.get("Description"))

    async def delete(self, key: str) -> None:
        record, sequence = await self.record(key, of_leader=True)
        if record:
            # Only the record that was read, and no tombstone in its place: what a put commits meanwhile stays.
            await self._purge(self._record_subject(key), seq=sequence + 1)
            await self._purge(self._data_subject(record.nuid))

    async def keys(self) -> list[str]:
        return [base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode() for subject in await self._subjects("M")]

    async def sweep(self, idle: float) -> int:
        """Purge the data that no record names and that was last added to `idle` seconds ago."""
        # The data first: what is committed after this line is found among the records, and so spared.
        orphans = set(await self._subjects("C"))
        keys = await self.keys()
        for start in range(0, len(keys), _AT_ONCE):
            found = await asyncio.gather(*map(self.record, keys[start : start + _AT_ONCE]))
            orphans -= {self._data_subject(record.nuid) for record, _ in found if record}
        # Ages by the server's clock alone, as the clocks of two machines differ.
        now = datetime.fromisoformat((await self._ask(f"$JS.API.STREAM.INFO.{self._stream}"))["ts"])
        swept = 0
        for subject in orphans:
            _, headers = await self._direct(subject)
            if headers and (now - datetime.fromisoformat(headers["Nats-Time-Stamp"])).total_seconds() > idle:
                await self._purge(subject)
                swept += 1
        return swept

    def _data_subject(self, nuid: str) -> str:
        return f"$O.{self._name}.C.{nuid}"

    def _record_subject(self, key: str) -> str:
        return f"$O.{self._name}.M.{base64.urlsafe_b64encode(key.encode()).decode()}"

    async def _subjects(self, kind: str) -> list[str]:
        """Subjects that hold a message; kind: M for records, C for data."""
        found: dict[str, int] = {}
        while True:  # the server answers at most 100,000 at a time
            request = {"subjects_filter": f"$O.{self._name}.{kind}.>", "offset": len(found)}
            answer = await self._ask(f"$JS.API.STREAM.INFO.{self._stream}", request)
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return list(found)

    async def _purge(self, subject: str, **limits: int) -> None:
        await self._ask(f"$JS.API.STREAM.PURGE.{self._stream}", {"filter": subject, **limits})

    async def _ask(self, subject: str, payload: object = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Send JSON and wait for the server's JSON; raises APIError where it refuses."""
        data = b"" if payload is None else msgspec.json.encode(payload)
        reply = await self._client.request(subject, data, timeout=self._timeout, headers=headers)
        return _answer(reply.data)

    async def _direct(self, subject: str) -> tuple[bytes, dict[str, str]]:
        """Get the last message on `subject` and its headers from any replica; no headers where there is none."""
        name = f"$JS.API.DIRECT.GET.{self._stream}.{subject}"
        reply = await self._client.request(name, timeout=self._timeout)
        headers = reply.headers or {}
        match headers.get("Status"):
            case None:
                return reply.data, headers
            case "404":
                return b"", {}
            case status:
                raise APIError(code=int(status), description=headers.get("Description"))

    @asynccontextmanager
    async def _inbox(self) -> AsyncIterator[Subscription]:
        """Listen for many answers; none is dropped, as we never ask for more than we can hold."""
        inbox = await self._client.subscribe(self._client.new_inbox(), pending_msgs_limit=0, pending_bytes_limit=0)
        try:
            yield inbox
        finally:
            with suppress(nats.errors.Error):  # a closed connection has nothing to give back
                await inbox.unsubscribe()

    async def _ack(self, acks: Subscription) -> int:
        """Wait until one more chunk is stored; 1."""
        message = await acks.next_msg(self._timeout)
        if (message.headers or {}).get("Status"):
            raise nats.errors.NoRespondersError
        _answer(message.data)
        return 1


def _answer(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(data)
    if error := answer.get("error"):
        raise APIError(code=error["code"], err_code=error.get("err_code"), description=error.get("description"))
    return answer


def _digest(sha256: bytes) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(sha256).decode()}"


@contextmanager
def _told(action: str) -> Iterator[None]:
    """Foreign exceptions as StoreError: what could not be done, why, and what to do."""
    try:
        yield
    except APIError as error:
        why = error.description or str(error)
        if error.err_code in _NO_SPACE or "no space" in why:
            why = f"the NATS server has no room left ({why}): free disk space there or raise its max_file_store"
        raise StoreError(f"could not {action}: {why}") from error
    except nats.errors.NoRespondersError as error:
        raise StoreError(
            f"could not {action}: the NATS server has no such bucket, or JetStream is off there"
        ) from error
    except TimeoutError as error:  # also nats-py's; before OSError, of which it is one
        why = "the NATS server did not answer: is it up, and is this user allowed to use the object store?"
        raise StoreError(f"could not {action}: {why}") from error
    except nats.errors.Error as error:
        raise StoreError(f"could not {action}: {str(error).removeprefix('nats: ')}") from error
    except OSError as error:
        what = ": free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreError(f"could not {action}: {error.strerror or error}{what}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StoreError(f"could not {action}: its record in the store is not readable ({error})") from error
