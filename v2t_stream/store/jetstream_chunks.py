"""Reads the objects of a JetStream bucket: whole, or from any place on."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec

from v2t_stream.broker.answers import Answers
from v2t_stream.broker.requests import Requests, Stored
from v2t_stream.store.record import Record, data_subject

HEADROOM: Final = 4096  # bytes of a message kept for its headers
CHUNK: Final = (1 << 20) - HEADROOM  # bytes: 30 s of FLAC fit one message under a server's default limits
PLACE: Final = "V2t-Chunk"  # header of a chunk: its place in the object, from 0
_WINDOW: Final = 4 << 20  # bytes per request; memory holds at most two windows


class ChunkReader:
    """One bucket on the wire, as far as it is read."""

    def __init__(self, requests: Requests, name: str, timeout: float, *, once: bool = False) -> None:
        """`timeout`: seconds that one message of an object may take.

        `once`: objects are never replaced, and a writer needs no permission to read or remove any. Such a bucket
        refuses rollups, because anybody who may publish to one subject of a stream can empty it with them. It still
        accepts later messages on the same subject, so the first one counts.
        """
        self._requests = requests
        self._client = requests.client
        self._once = once
        self._name = name
        self._stream = f"OBJ_{name}"
        self._timeout = timeout

    async def part(self, record: Record, start: int, length: int) -> bytes:
        """At most `length` bytes of the object from `start` on, unchecked; fewer if some are missing."""
        told = (record.options or {}).get("max_chunk_size")
        chunk = told if isinstance(told, int) and told > 0 else CHUNK  # a stranger may have written the record
        first = start // chunk
        sequence = await self._sequence(record, first)
        skipped = first if sequence > 1 else 0  # what tells no places is read from the beginning
        last = -(-(start + length) // chunk)  # so that no window comes that nobody waits for
        found = bytearray()
        chunks = self.data(record, skipped=skipped, start=sequence, until=last)
        async with contextlib.aclosing(chunks) as batches:
            async for batch in batches:
                for data in batch:
                    begin = max(0, start - skipped * chunk)
                    found += data[begin : begin + length - len(found)]
                    skipped += 1
                    start = max(start, skipped * chunk)
                if len(found) >= length:
                    break
        return bytes(found)

    async def _sequence(self, record: Record, place: int) -> int:
        """The sequence of a chunk; 1 if only reading all before it would tell.

        Other writers' messages may be between the chunks of an object, so each step tells how many are still ahead.
        """
        subject, sequence, reached = data_subject(self._name, record.nuid), 1, -1
        while place and reached < place:
            ahead = place - reached if reached >= 0 else 0
            found = await self._requests.direct_with_headers(self._stream, next_by_subj=subject, seq=sequence + ahead)
            headers = (found.headers or {}) if found else {}
            told = headers.get(PLACE, "")
            if not told.isdecimal() or int(told) <= reached:  # of an older release, another client, or a stranger
                return 1
            sequence, reached = int(headers["Nats-Sequence"]), int(told)
        return sequence

    async def data(
        self, record: Record, *, skipped: int = 0, start: int = 1, until: int | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the object's chunks in order, at most a window at a time; end early if some are missing.

        `skipped`: so many chunks come before the one whose sequence is `start`. `until`: only the first so many.
        """
        subject = data_subject(self._name, record.nuid)
        if record.chunks == 1:  # one request instead of a subscription
            if stored := await self._glance(subject):
                yield [stored.data]
            return

        async def ask(start: int) -> None:
            # One more than is left, because the server marks the end only of a batch of more than one.
            # Count the messages: the server's pending number is wrong with no_hdr on 2.15.1.
            request = {"next_by_subj": subject, "seq": start, "batch": left + 1, "max_bytes": _WINDOW, "no_hdr": True}
            await self._client.publish(direct, msgspec.json.encode(request), reply=inbox.subject)

        direct = f"$JS.API.DIRECT.GET.{self._stream}"
        left = min(record.chunks, until or record.chunks) - skipped
        batch: list[bytes] = []
        async with Answers(self._client, direct, self._timeout) as inbox:
            if left:
                await ask(start)
            while left > 0:
                message = await inbox.next()
                headers = message.headers or {}
                match headers.get("Status"):
                    case None:
                        batch.append(message.data)
                    case "204" if batch:
                        batch = batch[:left]  # a stranger may have written more after the last
                        left -= len(batch)
                        if left > 0:
                            await ask(int(headers["Nats-Last-Sequence"]) + 1)  # while the caller takes this batch
                        yield batch
                        batch = []
                    case "204" | "404":
                        return
                    case status:
                        error = {"code": status, "description": headers.get("Description")}
                        raise self._requests.refusal(direct, error)

    def _standing(self, subject: str) -> dict[str, Any]:
        """The request for the message that counts on `subject`."""
        return {"seq": 1, "next_by_subj": subject} if self._once else {"last_by_subj": subject}

    async def _glance(self, subject: str) -> Stored | None:
        """The message that counts on `subject`, from any replica."""
        if self._once:
            return await self._requests.direct(self._stream, **self._standing(subject))
        return await self._requests.direct(self._stream, subject)
