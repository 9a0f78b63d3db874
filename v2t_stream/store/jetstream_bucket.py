"""One bucket of the JetStream Object Store on the wire (ADR-20): records, chunks, commits."""

import asyncio
import hashlib
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO, Final

import msgspec
import nats.errors

from schemas.message import decode_as
from v2t_stream.broker import error_codes
from v2t_stream.broker.answers import Answers
from v2t_stream.broker.requests import Requests, Stored
from v2t_stream.errors import Denied, Refused, StoreError, Taken
from v2t_stream.host import tasks
from v2t_stream.store.jetstream_chunks import CHUNK, HEADROOM, PLACE, ChunkReader
from v2t_stream.store.record import Record, data_subject, digest_of, key_of, record_subject

_IN_FLIGHT: Final = 8  # chunks sent but not yet acked
_COMMITS: Final = 100  # tries against other writers of the same key
_LEAVING: Final = 1.5  # seconds that a cancelled upload waits for what it has sent, to remove all of it
_PAUSE: Final = 0.5  # seconds until a record that could not be stored is sent again
AT_ONCE: Final = 64  # small requests in parallel


class Bucket(ChunkReader):
    """One bucket on the wire. Raises nats-py's exceptions and ours; jetstream_store turns them into sentences."""

    def __init__(self, requests: Requests, name: str, timeout: float, *, once: bool = False, holds: str = "") -> None:
        """`holds`: what, for people. The others: see ChunkReader."""
        super().__init__(requests, name, timeout, once=once)
        self._holds = holds

    async def max_age(self) -> float | None:
        """Seconds that objects are kept, 0: for ever; None if the bucket does not exist."""
        info = await self._requests.find(f"STREAM.INFO.{self._stream}")
        return float(info["config"]["max_age"]) / 1e9 if info else None

    async def create(self, max_age: float, replicas: int, *, keep: bool = False) -> None:
        """`keep`: leave the age limit of an existing bucket unchanged."""
        config = {
            "name": self._stream,
            "description": self._holds,
            "subjects": [f"$O.{self._name}.C.>", f"$O.{self._name}.M.>"],
            "storage": "file",
            "num_replicas": replicas,
            "max_age": int(max_age * 1e9),
            "discard": "new",
            "allow_rollup_hdrs": not self._once,
            "allow_direct": True,
        }
        try:
            await self._requests.api(f"STREAM.CREATE.{self._stream}", config)
        except Refused as error:
            if error.code not in error_codes.IN_USE:
                raise
            present = (await self._requests.api(f"STREAM.INFO.{self._stream}"))["config"]
            config["num_replicas"] = max(replicas, present["num_replicas"])  # never reduce them
            config["description"] = present.get("description") or self._holds
            if keep:
                config["max_age"] = present["max_age"]
            await self._requests.api(f"STREAM.UPDATE.{self._stream}", config)

    async def record(self, key: str, *, of_leader: bool = False) -> tuple[Record | None, int]:
        """Return the record of `key` and its sequence in the stream; None and 0 if it does not exist.

        Any replica answers a direct get and may lag behind, so only the leader can say that the record does not exist.
        """
        subject = record_subject(self._name, key)
        seen = None if of_leader else await self._glance(subject)
        return _record(seen or await self._requests.message(self._stream, **self._standing(subject)))

    async def upload(self, key: str, source: BinaryIO) -> None:
        """Send the bytes, then commit them with the record; any failure before that leaves the old object."""
        nuid = secrets.token_hex(11)
        subject = data_subject(self._name, nuid)
        length = min(CHUNK, self._client.max_payload - HEADROOM)
        sha256 = hashlib.sha256()
        size = chunks = stored = 0
        committing = False

        def after(sent: bytes) -> bytes:
            sha256.update(sent)
            return source.read(length)

        try:
            async with Answers(self._client, subject, self._timeout) as acks:
                try:
                    data = await asyncio.to_thread(source.read, length)
                    while data:
                        size, chunks = size + len(data), chunks + 1  # first: a cancelled publish may be on its way
                        await self._client.publish(subject, data, reply=acks.subject, headers={PLACE: str(chunks - 1)})
                        data = await asyncio.to_thread(after, data)  # while that chunk is under way
                        if chunks - stored == _IN_FLIGHT:
                            stored += await self._ack(acks)
                    # While the last chunks are under way. If this replica lags behind, the commit finds out.
                    standing = None if self._once else await self._glance(record_subject(self._name, key))
                    while stored < chunks:
                        stored += await self._ack(acks)
                except (Refused, asyncio.CancelledError) as error:
                    # Chunks under way would be stored after all: on a full server, removing data makes room.
                    full = isinstance(error, Refused)
                    await acks.hear_out(chunks - stored - full, None if full else _LEAVING)
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
            replaced = await tasks.to_its_end(self._commit(record, *_record(standing)), _LEAVING)
        except Denied:
            raise  # nothing was stored
        except BaseException:
            # An unanswered commit may still happen (nats-py sends its buffer after it reconnects), and needs its data.
            if chunks and not committing:
                with suppress(nats.errors.Error):
                    await self._abandon(subject)
            raise
        if replaced and replaced.chunks:
            with suppress(nats.errors.Error):  # the new object is stored in any case
                await self._purge(data_subject(self._name, replaced.nuid))

    async def _commit(self, record: Record, old: Record | None, sequence: int) -> Record | None:
        """Publish the record in place of `old` or a later one; returns the one it replaced.

        The expected sequence tells each of two writers which record it replaced, so together they remove all old data.
        """
        if self._once:
            await self._commit_once(record)
            return None
        for _ in range(_COMMITS):
            headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(sequence)}
            try:
                await self._write(record, headers)
            except Refused as error:
                if error.code in (*error_codes.IN_PROCESS, error_codes.NO_LEADER):
                    await asyncio.sleep(_PAUSE)
                elif error.code != error_codes.WRONG_SEQUENCE:
                    raise
                standing, sequence = await self.record(record.name, of_leader=True)
                if standing and standing.nuid == record.nuid:
                    return old  # it is stored; only its answer was lost
                old = standing
            else:
                return old
        raise StoreError(f"too many writers are storing {record.name} at once: try again")

    async def _commit_once(self, record: Record) -> None:
        may_be_ours = False
        for _ in range(_COMMITS):
            try:
                await self._write(record, {"Nats-Expected-Last-Subject-Sequence": "0"})
            except Refused as error:
                if error.code == error_codes.WRONG_SEQUENCE and not may_be_ours:
                    raise Taken(f"{record.name} is already stored and cannot be replaced") from error
                if error.code == error_codes.WRONG_SEQUENCE:
                    return
                if error.code not in (*error_codes.IN_PROCESS, error_codes.NO_LEADER):
                    raise
                may_be_ours = may_be_ours or error.code != error_codes.NO_LEADER
                await asyncio.sleep(_PAUSE)
            else:
                return
        raise StoreError(f"the NATS server did not say whether it stored {record.name}: try again")

    async def _write(self, record: Record, headers: dict[str, str]) -> None:
        """Publish the record. Raises Refused, and nats-py's Error if no answer comes."""
        subject = record_subject(self._name, record.name)
        async with Answers(self._client, subject, self._timeout) as answers:
            await self._client.publish(subject, msgspec.json.encode(record), reply=answers.subject, headers=headers)
            answer = await answers.next()
        self._requests.read(subject, answer.data)

    async def _abandon(self, subject: str) -> None:
        """Remove the chunks on `subject` without waiting: the server may be away, or this task cancelled.

        A purge can overtake chunks under way, so a rollup follows them in the stream and replaces them with one empty
        message; but a full server stores no rollup and needs the purge. If this user may not purge, the chunks stay
        until they expire.
        """
        if not self._once:
            await self._client.publish(subject, headers={"Nats-Rollup": "sub"})
        purging, reply = f"$JS.API.STREAM.PURGE.{self._stream}", self._client.new_inbox()
        self._client.expect(reply, purging, lambda _: self._client.expect_no_more(reply))
        await self._client.publish(purging, msgspec.json.encode({"filter": subject}), reply=reply)

    async def delete(self, key: str) -> None:
        record, sequence = await self.record(key, of_leader=True)
        if record:
            # Purge only the record that was read and write no tombstone, so that a put committed meanwhile stays. In a
            # bucket of `once`, later records never count.
            limits = {} if self._once else {"seq": sequence + 1}
            await self._purge(record_subject(self._name, key), **limits)
            await self._purge(data_subject(self._name, record.nuid))

    async def keys(self) -> list[str]:
        keys = map(key_of, await self._requests.subjects(self._stream, f"$O.{self._name}.M.>"))
        return [key for key in keys if key is not None]

    async def sweep(self, idle: float) -> int:
        """Purge data that no record names and that has not grown for `idle` seconds."""
        # List the data first: the records then include everything committed after this line, which is spared.
        orphans = set(await self._requests.subjects(self._stream, f"$O.{self._name}.C.>"))
        keys = await self.keys()
        for start in range(0, len(keys), AT_ONCE):
            found = await asyncio.gather(*map(self.record, keys[start : start + AT_ONCE]))
            orphans -= {data_subject(self._name, record.nuid) for record, _ in found if record}
        # Use only the server's clock, because machines' clocks differ.
        now = datetime.fromisoformat((await self._requests.api(f"STREAM.INFO.{self._stream}"))["ts"])
        swept = 0
        for subject in orphans:
            latest = await self._glance(subject)
            if latest and now.timestamp() - latest.at > idle:
                await self._purge(subject)
                swept += 1
        return swept

    async def _purge(self, subject: str, **limits: int) -> None:
        await self._requests.api(f"STREAM.PURGE.{self._stream}", {"filter": subject, **limits})

    async def _ack(self, acks: Answers) -> int:
        """Wait until one more chunk is stored; returns 1."""
        answer = await acks.next()
        self._requests.read("a chunk", answer.data)
        return 1


def _record(stored: Stored | None) -> tuple[Record | None, int]:
    return (decode_as(Record, stored.data), stored.sequence) if stored else (None, 0)
