"""One bucket of the JetStream Object Store on the wire (ADR-20): records, chunks, commits."""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import nats.errors
from msgspec import Meta
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError

from schemas.message import decode_as
from v2t_stream.broker import error_codes
from v2t_stream.broker.client import NatsClient
from v2t_stream.errors import Denied, StoreError

_HEADROOM: Final = 4096  # bytes of a message left to its headers
_CHUNK: Final = (1 << 20) - _HEADROOM  # bytes: the FLAC of 30 s is one message on a server with default limits
_IN_FLIGHT: Final = 8  # chunks sent and not yet known to be stored
_WINDOW: Final = 4 << 20  # bytes asked for at once; at most two windows wait in memory
_COMMITS: Final = 100  # times that another writer of the same key may come in between
_GLANCE: Final = 0.5  # seconds until one who waits looks whether the server is still there
_AGAIN: Final = 2.0  # seconds until a read is asked again
AT_ONCE: Final = 64  # small requests side by side


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """ADR-20's ObjectInfo, without what this program does not use.

    Whoever may send a file may write one, and what it names becomes part of a subject that is purged.
    """

    name: str
    bucket: str = ""
    nuid: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*\Z")] = ""
    size: Annotated[int, Meta(ge=0)] = 0  # bytes
    chunks: Annotated[int, Meta(ge=0)] = 0
    digest: Annotated[str, Meta(pattern=r"^(SHA-256=[A-Za-z0-9_-]{43}=)?\Z")] = ""  # base64, the URL alphabet
    mtime: str = ""
    deleted: bool = False  # other clients leave such a record behind
    options: dict[str, Any] | None = None


class Copy:
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
        return digest_of(self._hash.digest())


class Bucket:
    """One bucket on the wire. Raises the exceptions of nats-py; object_store makes one sentence of them."""

    def __init__(self, client: NatsClient, name: str, timeout: float, *, once: bool = False) -> None:
        """`once`: objects are never replaced, and whoever stores them need not be allowed to read or remove any.

        Such a bucket refuses rollups, by which anybody who may publish to one subject of a stream can empty it. What
        comes later on the same subject it takes all the same, so of several messages the first counts.
        """
        self._client = client
        self._once = once
        self._name = name
        self._stream = f"OBJ_{name}"
        self._timeout = timeout
        self._denied: dict[str, Denied] = {}  # by the inbox that waits for the answers

    async def max_age(self) -> float | None:
        """Seconds that objects are kept, 0: for ever; None where there is no such bucket."""
        try:
            answer = await self._ask(f"$JS.API.STREAM.INFO.{self._stream}")
        except APIError as error:
            if error.err_code != error_codes.NOT_FOUND:
                raise
            return None
        return float(answer["config"]["max_age"]) / 1e9

    async def create(self, max_age: float, replicas: int, *, keep: bool = False) -> None:
        """`keep`: where there is one, its objects are kept as long as before."""
        config = {
            "name": self._stream,
            "subjects": [f"$O.{self._name}.C.>", f"$O.{self._name}.M.>"],
            "storage": "file",
            "num_replicas": replicas,
            "max_age": int(max_age * 1e9),
            "discard": "new",
            "allow_rollup_hdrs": not self._once,
            "allow_direct": True,
        }
        try:
            await self._ask(f"$JS.API.STREAM.CREATE.{self._stream}", config)
        except APIError as error:
            if error.err_code != error_codes.NAME_IN_USE:
                raise
            present = (await self._ask(f"$JS.API.STREAM.INFO.{self._stream}"))["config"]
            config["num_replicas"] = max(replicas, present["num_replicas"])  # one that has more keeps them
            if keep:
                config["max_age"] = present["max_age"]
            await self._ask(f"$JS.API.STREAM.UPDATE.{self._stream}", config)

    async def record(self, key: str, *, of_leader: bool = False) -> tuple[Record | None, int]:
        """Return the record of `key` and its sequence in the stream; None and 0 where there is none.

        Any replica answers a direct get, and one may lag behind: only the leader is believed that there is none.
        """
        if not of_leader:
            record, sequence = await self._seen(key)
            if record:
                return record, sequence
        request = self._standing(self._record_subject(key))
        try:
            answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{self._stream}", request)
        except APIError as error:
            if error.err_code != error_codes.NO_MESSAGE:
                raise
            return None, 0
        message = answer["message"]
        return decode_as(Record, base64.b64decode(message["data"])), message["seq"]

    async def _seen(self, key: str) -> tuple[Record | None, int]:
        """The same by whichever replica answers."""
        data, headers = await self._direct(self._record_subject(key))
        return (decode_as(Record, data), int(headers["Nats-Sequence"])) if headers else (None, 0)

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
            async with self._inbox(subject) as acks:
                try:
                    data = await asyncio.to_thread(source.read, length)
                    while data:
                        await self._client.publish(subject, data, reply=acks.subject)
                        size, chunks = size + len(data), chunks + 1
                        data = await asyncio.to_thread(after, data)  # while that chunk travels
                        if chunks - stored == _IN_FLIGHT:
                            stored += await self._ack(acks)
                    # While the last chunks travel. Should that replica lag behind, the commit finds out.
                    old, sequence = (None, 0) if self._once else await self._seen(key)
                    while stored < chunks:
                        stored += await self._ack(acks)
                except APIError:
                    # Refused, as by a server that is full. What is still on its way could find the room that taking
                    # back makes, and stay: hear of it first.
                    await self._hear_out(acks, chunks - stored - 1)
                    raise
            record = Record(
                name=key,
                bucket=self._name,
                nuid=nuid,
                size=size,
                chunks=chunks,
                digest=digest_of(sha256.digest()),
                mtime=datetime.now(UTC).isoformat(),
                options={"max_chunk_size": length},
            )
            committing = True
            replaced = await self._commit(record, old, sequence)
        except Denied:
            raise  # nothing was stored
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

    async def _commit(self, record: Record, old: Record | None, sequence: int) -> Record | None:
        """Publish the record in place of `old`, or of what came since; returns the one it replaced.

        By expecting a sequence, of two writers each knows what it replaced, and between them all old data goes.
        """
        if self._once:
            await self._commit_once(record)
            return None
        for _ in range(_COMMITS):
            headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(sequence)}
            try:
                await self._ask(self._record_subject(record.name), record, headers)
            except APIError as error:
                if error.err_code in error_codes.IN_PROCESS:
                    await asyncio.sleep(_GLANCE)
                elif error.err_code != error_codes.WRONG_SEQUENCE:
                    raise
                standing, sequence = await self.record(record.name, of_leader=True)
                if standing and standing.nuid == record.nuid:
                    return old  # it was stored, and the answer that said so was another
                old = standing
            else:
                return old
        raise StoreError(f"{record.name} is being written from too many places at once: try again")

    async def _commit_once(self, record: Record) -> None:
        may_be_ours = False
        for _ in range(_COMMITS):
            try:
                headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
                await self._ask(self._record_subject(record.name), record, headers)
            except APIError as error:
                if error.err_code == error_codes.WRONG_SEQUENCE and not may_be_ours:
                    raise StoreError(f"{record.name} is stored already, and is never replaced") from error
                if error.err_code == error_codes.WRONG_SEQUENCE:
                    return
                if error.err_code not in error_codes.IN_PROCESS:
                    raise
                may_be_ours = True
                await asyncio.sleep(_GLANCE)
            else:
                return
        raise StoreError(f"the NATS server does not say whether it stored {record.name}: try again")

    async def _abandon(self, subject: str) -> None:
        """Take back the chunks on `subject`, waiting for no answer: the server may be away, or this task cancelled.

        A purge can overtake the chunks under way, so a rollup follows them in the stream and replaces them by one
        empty message; but a server that is full stores no rollup, and needs the purge. Where this user may not purge,
        they stay until they expire.
        """
        if not self._once:
            await self._client.publish(subject, headers={"Nats-Rollup": "sub"})
        purging, reply = f"$JS.API.STREAM.PURGE.{self._stream}", self._client.new_inbox()
        self._client.expect(reply, purging, lambda _: self._client.expect_no_more(reply))
        await self._client.publish(purging, msgspec.json.encode({"filter": subject}), reply=reply)

    async def data(self, record: Record) -> AsyncGenerator[list[bytes], None]:
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
            await self._client.publish(direct, msgspec.json.encode(request), reply=inbox.subject)

        direct = f"$JS.API.DIRECT.GET.{self._stream}"
        left = record.chunks
        batch: list[bytes] = []
        async with self._inbox(direct) as inbox:
            if left:
                await ask(1)
            while left > 0:
                message = await self._while_connected(inbox.next_msg(self._timeout), inbox)
                headers = message.headers or {}
                match headers.get("Status"):
                    case None:
                        batch.append(message.data)
                    case "204" if batch:
                        batch = batch[:left]  # behind the last there may be what a stranger wrote
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
            # Only the record that was read, and no tombstone in its place: what a put commits meanwhile stays. Where
            # nothing is ever replaced, what came later counts as little as before.
            limits = {} if self._once else {"seq": sequence + 1}
            await self._purge(self._record_subject(key), **limits)
            await self._purge(self._data_subject(record.nuid))

    async def keys(self) -> list[str]:
        keys = (_key(subject) for subject in await self._subjects("M"))
        return [key for key in keys if key is not None]

    async def sweep(self, idle: float) -> int:
        """Purge the data that no record names and that was last added to `idle` seconds ago."""
        # The data first: what is committed after this line is found among the records, and so spared.
        orphans = set(await self._subjects("C"))
        keys = await self.keys()
        for start in range(0, len(keys), AT_ONCE):
            found = await asyncio.gather(*map(self.record, keys[start : start + AT_ONCE]))
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

    def _standing(self, subject: str) -> dict[str, object]:
        """The question for the message on `subject` that counts."""
        return {"seq": 1, "next_by_subj": subject} if self._once else {"last_by_subj": subject}

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
        give_up = time.monotonic() + self._timeout
        while time.monotonic() < give_up:
            asking = self._client.request(subject, data, timeout=self._timeout, headers=headers)
            reply = await self._while_connected(asking)
            try:
                return _answer(reply.data)
            except APIError as error:
                if error.err_code != error_codes.NO_LEADER:
                    raise
            await asyncio.sleep(_GLANCE)
        raise nats.errors.TimeoutError

    async def _direct(self, subject: str) -> tuple[bytes, dict[str, str]]:
        """Get the message that counts on `subject` and its headers from any replica; no headers where there is none."""
        name, payload = f"$JS.API.DIRECT.GET.{self._stream}.{subject}", b""
        if self._once:
            name, payload = f"$JS.API.DIRECT.GET.{self._stream}", msgspec.json.encode(self._standing(subject))
        try:
            reply = await self._client.request(name, payload, timeout=_AGAIN)
        except nats.errors.TimeoutError:  # a read can be asked again, which is cheaper than watching over each
            reply = await self._while_connected(self._client.request(name, payload, timeout=self._timeout))
        headers = reply.headers or {}
        match headers.get("Status"):
            case None:
                return reply.data, headers
            case "404":
                return b"", {}
            case status:
                raise APIError(code=int(status), description=headers.get("Description"))

    @asynccontextmanager
    async def _inbox(self, asked: str) -> AsyncIterator[Subscription]:
        """Listen for many answers on `asked`; none is dropped, as we never ask for more than we can hold."""
        inbox = await self._client.subscribe(self._client.new_inbox(), pending_msgs_limit=0, pending_bytes_limit=0)
        self._client.expect(inbox.subject, asked, lambda denied: self._denied.update({inbox.subject: denied}))
        try:
            yield inbox
        except Denied as error:
            raise self._denied.get(inbox.subject, error) from None  # the first of several
        finally:
            self._client.expect_no_more(inbox.subject)
            self._denied.pop(inbox.subject, None)
            with suppress(nats.errors.Error):  # a closed connection has nothing to give back
                await inbox.unsubscribe()

    async def _ack(self, acks: Subscription) -> int:
        """Wait until one more chunk is stored; 1."""
        message = await self._while_connected(acks.next_msg(self._timeout), acks)
        if (message.headers or {}).get("Status"):
            raise nats.errors.NoRespondersError
        _answer(message.data)
        return 1

    async def _while_connected(self, answer: Coroutine[Any, Any, Msg], inbox: Subscription | None = None) -> Msg:
        """`answer`, unless the connection it was asked on is lost, as it is lost with it. Raises nats-py's Error.

        Raises Denied where what is answered in `inbox` is forbidden.
        """
        life = self._client.stats["reconnects"] if self._client.is_connected else None
        waiting = asyncio.create_task(answer)
        try:
            while not (await asyncio.wait({waiting}, timeout=_GLANCE))[0]:
                if inbox and inbox.subject in self._denied:
                    raise self._denied[inbox.subject]
                # What is asked while the server is away waits in the client, and is sent when it is back.
                if life is not None and (not self._client.is_connected or self._client.stats["reconnects"] != life):
                    raise nats.errors.Error("the connection to the NATS server was lost: try again when it is back")
            return waiting.result()
        finally:
            waiting.cancel()

    async def _hear_out(self, acks: Subscription, due: int) -> None:
        """Wait for `due` answers, whatever they are; no longer than until the first that does not come."""
        with suppress(nats.errors.Error, TimeoutError):
            for _ in range(due):
                with suppress(APIError):
                    await self._ack(acks)


def _key(subject: str) -> str | None:
    """The key of a record's subject; None where it is none of ours, as anybody may write who may send a file."""
    try:
        return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
    except ValueError:
        return None


def _answer(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(data)
    if error := answer.get("error"):
        raise APIError(code=error["code"], err_code=error.get("err_code"), description=error.get("description"))
    return answer


def digest_of(sha256: bytes) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(sha256).decode()}"


def sha256_of(digest: str) -> bytes:
    """What `digest_of` was given."""
    return base64.urlsafe_b64decode(digest.removeprefix("SHA-256="))
