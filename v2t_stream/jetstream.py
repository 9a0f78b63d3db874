"""The connection to NATS: publish with an ack, pull one message at a time, replay and watch facts.

This module translates nats-py's exceptions into ours; nothing above it sees them.
"""

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from schemas.message import Message, encode
from v2t_stream.errors import BrokerError

log = logging.getLogger(__name__)

OLDEST_SERVER: Final = (2, 12)  # consumer priority groups with ranks
_WRONG_LAST_SEQUENCE: Final = (10071, 10164)  # somebody published this fact before
_NOT_STORED: Final = 10077  # for many reasons, of which one means that the same chunk is waiting already
_SUBJECT_FULL: Final = "maximum messages per subject exceeded"
_ACK_TIMEOUT: Final = 2.0  # seconds until what nobody answered is sent again
_NO_ROOM: Final = (10023, 10047)  # insufficient resources, of the server or of storage
_PUBLISH_PATIENCE: Final = 120.0  # seconds a publish outlasts a broker that is away
_REQUEST_TIMEOUT: Final = 10.0  # seconds
# What nats-py raises at a connection that is being lost; the last is uvloop's, of a socket that was closed.
_GONE: Final = (nats.errors.Error, OSError, RuntimeError)
_AWAY: Final = 0.2  # seconds until a puller looks again whether the server is back
_FAREWELL: Final = 2.0  # seconds to wait for the last messages of a pull that ends


class Connection:
    """One connection to a NATS server with JetStream. Made by `connect`."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=_REQUEST_TIMEOUT)
        self.url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        with contextlib.suppress(*_GONE):
            if self.client.is_connected:
                await self.client.flush()
        with contextlib.suppress(*_GONE):
            await self.client.close()

    async def api(self, name: str, request: object = None) -> dict[str, Any]:
        """One JetStream API request; raises BrokerError with the server's own description."""
        payload = json.dumps(request).encode() if request is not None else b""
        try:
            reply = await self._request(f"$JS.API.{name}", payload)
        except nats.errors.NoRespondersError:
            raise BrokerError(f"the NATS server at {self.url} has no JetStream: start it with -js") from None
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer {name}: {_words(error)}") from error
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise BrokerError(f"the NATS server at {self.url} refused {name}: {answer['error'].get('description')}")
        return answer

    async def _request(self, subject: str, payload: bytes) -> Msg:
        """One that can be sent twice: what was on its way when the server went down is not waited for long."""
        try:
            return await self.client.request(subject, payload, timeout=_ACK_TIMEOUT)
        except nats.errors.TimeoutError:
            return await self.client.request(subject, payload, timeout=_REQUEST_TIMEOUT)

    async def publish(self, message: Message, *, once: bool | None = None) -> bool:
        """Publish `message` on its subject and wait until it is stored; True where it was this call that stored it.

        A message whose class says ONCE is stored at most once per subject, unless `once` says otherwise. While the
        broker is away this tries again for two minutes, which is safe because every subject is idempotent; then
        BrokerError.
        """
        headers = None
        if message.FENCE:
            headers = {
                "Nats-Expected-Last-Subject-Sequence": str(message.after),
                "Nats-Expected-Last-Subject-Sequence-Subject": message.FENCE.format(job=message.job),
            }
        elif message.ONCE and once is not False:
            headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        answer = await self._publish(message.subject, encode(message), headers)
        error = answer.get("error")
        if error is None:
            return True
        if _stands_already(error):
            return False
        raise BrokerError(f"the NATS server refused {message.subject}: {error.get('description')}")

    async def submit(self, subject: str, data: bytes, dedupe: str) -> tuple[int, bool]:
        """Put bytes into the inbox; their sequence number, and whether the same `dedupe` id was there already."""
        answer = await self._publish(subject, data, {"Nats-Msg-Id": dedupe}, patient=False)
        if error := answer.get("error"):
            raise BrokerError(f"the NATS server refused {subject}: {error.get('description')}")
        return answer["seq"], answer.get("duplicate", False)

    async def _publish(
        self, subject: str, data: bytes, headers: dict[str, str] | None, *, patient: bool = True
    ) -> dict[str, Any]:
        give_up = time.monotonic() + _PUBLISH_PATIENCE
        while True:
            try:
                reply = await self.client.request(subject, data, timeout=_ACK_TIMEOUT, headers=headers)
                answer: dict[str, Any] = json.loads(reply.data)
            except (nats.errors.ConnectionClosedError, nats.errors.MaxPayloadError) as error:
                raise BrokerError(f"could not publish {subject}: {_words(error)}") from error
            except (nats.errors.Error, TimeoutError) as error:
                # No responders also means: the server is up again and has not recovered its streams yet.
                if time.monotonic() > give_up:
                    raise BrokerError(f"no answer from the NATS server at {self.url} to {subject}") from error
                await asyncio.sleep(0.2)
            else:
                # 503: JetStream is up but the stream has no leader, or no room, at this moment.
                refusal = answer.get("error", {})
                if refusal.get("code") != 503 or _stands_already(refusal) or time.monotonic() > give_up:
                    return answer
                if refusal.get("err_code") in _NO_ROOM and not patient:
                    raise BrokerError(
                        f"the NATS server at {self.url} has no room left: free disk space there, or raise its "
                        "max_file_store"
                    )
                await asyncio.sleep(0.2)

    async def tell(self, message: Message) -> None:
        """Publish for display only, waiting for nothing."""
        try:
            await self.client.publish(message.subject, encode(message))
        except nats.errors.Error:
            return  # progress that nobody sees costs nothing

    async def any_of(self, stream: str, subjects: list[str]) -> bool:
        """Whether a message stands on at least one of `subjects`: one request, whatever their number."""
        request = {"multi_last": subjects, "batch": 1}
        return (await self._direct(stream, request)) is not None

    async def last(self, stream: str, subject: str) -> bytes | None:
        """The latest message on `subject`, or None; from the stream's leader, for another replica may lag behind."""
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except BrokerError as error:
            if "no message found" not in str(error):
                raise
            return None
        return base64.b64decode(answer["message"].get("data", ""))

    async def _direct(self, stream: str, request: dict[str, Any]) -> Msg | None:
        try:
            reply = await self._request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode())
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer: {_words(error)}") from error
        status = (reply.headers or {}).get("Status")
        if status in ("404", "204"):
            return None
        if status:
            raise BrokerError(
                f"the NATS server at {self.url} refused a read: {(reply.headers or {}).get('Description')}"
            )
        return reply

    async def latest(self, stream: str, pattern: str) -> list[bytes]:
        """The latest message on each subject that matches; one request, for at most a thousand subjects."""
        inbox = self.client.new_inbox()
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await self.client.subscribe(inbox, cb=answers.put)
        found: list[bytes] = []
        try:
            request = json.dumps({"multi_last": [pattern]}).encode()
            await self.client.publish(f"$JS.API.DIRECT.GET.{stream}", request, reply=inbox)
            while True:
                async with asyncio.timeout(_REQUEST_TIMEOUT):
                    message = await answers.get()
                if (message.headers or {}).get("Status"):
                    return found  # the end mark, or 404: there is none
                found.append(message.data)
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer: {_words(error)}") from error
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """The subjects in `stream` that match `pattern` and hold a message."""
        found: dict[str, int] = {}
        while True:  # the server answers at most 100,000 subjects at a time
            answer = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": len(found)})
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return list(found)

    async def watch(self, stream: str, *patterns: str, live: bool = True) -> AsyncGenerator["Stored | None"]:
        """The stream's messages on `patterns`: first what stands there, then None, then (if `live`) what comes.

        There is no gap and no double, also where the server goes away meanwhile. Raises BrokerError where it
        is away at the start.
        """
        caught_up = False
        async with contextlib.aclosing(self._deliveries(stream, patterns)) as deliveries:
            async for stored, pending in deliveries:
                if stored:
                    yield stored
                if not pending and not caught_up:
                    caught_up = True
                    yield None
                    if not live:
                        return

    async def _deliveries(self, stream: str, patterns: tuple[str, ...]) -> AsyncGenerator[tuple["Stored | None", int]]:
        """Each message with the number still to come; the number alone on each new consumer and when nothing comes.

        A consumer that was lost with its server, or whose messages were lost on the way, is made again behind the
        last message seen.
        """
        after = 0
        name, pending = await self._ephemeral(stream, patterns, 1)
        while True:
            yield None, pending
            try:
                async with contextlib.aclosing(self._in_order(stream, name)) as deliveries:
                    async for stored, pending in deliveries:
                        after = stored.sequence if stored else after
                        yield stored, pending
            except BrokerError:
                if self.client.is_closed:
                    raise
            finally:
                with contextlib.suppress(nats.errors.Error):
                    await self.client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
            while True:
                try:
                    name, pending = await self._ephemeral(stream, patterns, after + 1)
                    break
                except BrokerError:
                    if self.client.is_closed:
                        raise
                    await asyncio.sleep(0.5)

    async def _in_order(self, stream: str, consumer: str) -> AsyncGenerator[tuple["Stored | None", int]]:
        """Each message of `consumer` with the number still to come, until one is missing; the number when none comes.

        Raises BrokerError where the server or the consumer is gone.
        """
        received = 0
        async with Puller(self.client, stream, consumer, batch=256) as puller:
            while True:
                message = await puller.next()
                if message is None:
                    info = await self.api(f"CONSUMER.INFO.{stream}.{consumer}")
                    if info["delivered"]["consumer_seq"] != received:
                        return
                    yield None, info["num_pending"]
                    continue
                metadata = message.metadata
                received += 1
                if metadata.sequence.consumer != received:
                    return
                stored = Stored(message.subject, message.data, metadata.sequence.stream, metadata.timestamp.timestamp())
                yield stored, metadata.num_pending

    async def _ephemeral(self, stream: str, patterns: tuple[str, ...], start: int) -> tuple[str, int]:
        """Make a consumer from sequence `start` on; its name, and how many messages wait for it."""
        config = {
            "filter_subjects": list(patterns),
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60_000_000_000,  # ns; should we not live to delete it
        }
        answer = await self.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        return answer["name"], answer["num_pending"]


def _stands_already(error: dict[str, Any]) -> bool:
    """Whether the server refused a message because its subject holds one."""
    code = error.get("err_code")
    return code in _WRONG_LAST_SEQUENCE or (code == _NOT_STORED and error.get("description") == _SUBJECT_FULL)


class Stored(NamedTuple):
    """One message as the stream holds it."""

    subject: str
    data: bytes
    sequence: int
    at: float  # Unix seconds by the server's clock, the only clock all machines share


class Puller:
    """A pull consumer's messages, asked for `batch` at a time and only while somebody waits in `next`.

    nats-py's own fetch knows no priority groups and does not notice a lost server; its pull request and
    status messages are simple enough to write here (ADR-13 describes both).
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        consumer: str,
        *,
        batch: int = 1,
        group: str | None = None,
        rank: int = 0,
    ) -> None:
        """`group`, `rank`: of a consumer with a priority group; of those that wait, the lowest rank is served."""
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._request: dict[str, object] = {"batch": batch}
        self.rank = rank  # may be changed between two calls of `next`
        self._group = group
        self._batch = batch
        self._due = 0  # messages the server still owes us
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._queue.put)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop pulling; what came in the meantime goes back at once, for somebody else."""
        try:
            if self._client.is_connected:
                async with asyncio.timeout(_FAREWELL):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]  # it also waits for what is on its way to us
            else:
                await self._subscription.unsubscribe()
            while not self._queue.empty():
                message = self._queue.get_nowait()
                if message.reply.startswith("$JS.ACK"):
                    await message.nak()
        except _GONE:
            return  # the server is away and will deliver again by itself

    async def next(self, wait: float = 30.0) -> Msg | None:
        """The next message; None where none came within `wait` seconds (0: do not wait) or the server went away.

        Raises BrokerError where the consumer does not exist any more.
        """
        heartbeat = min(2.0, wait * 0.4)
        if self._due <= 0 and self._queue.empty():
            if not self._client.is_connected:
                # The client would keep this request until it is connected, and the next one too: more than `batch`.
                await asyncio.sleep(_AWAY)
                return None
            await self._ask(wait, heartbeat)
        while True:
            try:
                async with asyncio.timeout(2 * heartbeat + 0.5):  # wait_for can swallow a cancellation (3.11)
                    message = await self._queue.get()
            except TimeoutError:
                self._due = 0
                return None
            if message.reply.startswith("$JS.ACK"):
                self._due -= 1
                return message
            headers = message.headers or {}
            match headers.get("Status"):
                case "100":
                    continue
                case "404" | "408":
                    self._due = 0
                    return None
                case status:
                    self._due = 0
                    raise BrokerError(f"no work can be pulled: {status} {headers.get('Description')}")

    async def _ask(self, wait: float, heartbeat: float) -> None:
        request = dict(self._request)
        if self._group:
            request |= {"group": self._group, "priority": self.rank}
        if wait:
            request |= {"expires": int(wait * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
        else:
            request["no_wait"] = True
        try:
            await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)
        except nats.errors.Error as error:
            raise BrokerError(f"could not ask for work: {_words(error)}") from error
        self._due = self._batch


async def connect(url: str, *, name: str, patience: float = 5.0) -> Connection:
    """Connect to the NATS server at `url`, trying for `patience` seconds; afterwards it reconnects for ever.

    Raises BrokerError with one sentence: nobody answers there, credentials refused, server too old.
    """
    where = _without_secret(url)
    trouble: list[Exception] = []
    limit = asyncio.timeout(patience)

    async def on_error(error: Exception) -> None:
        if client.is_connected and "permissions violation" in str(error).lower():
            log.warning("the NATS server at %s forbids something: %s", where, _words(error))
        if not any(map(_is_refusal, trouble)):  # which the connection's end may follow as an error of its own
            trouble[:] = [error]
        if _is_refusal(error) and not connected:
            # It will not change its mind. A moment later, so that the client has closed its socket.
            limit.reschedule(asyncio.get_running_loop().time() + 0.1)

    client = Client()
    connected = False
    try:
        async with limit:
            await client.connect(
                url,
                name=name,
                error_cb=on_error,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                connect_timeout=3,
                ping_interval=20,
                pending_size=64 << 20,
            )
            connected = True
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        with contextlib.suppress(AssertionError):  # a URL that could not be read
            await client.close()
        cause = trouble[0] if trouble else error
        if _is_refusal(cause):
            raise BrokerError(
                f"the NATS server at {where} refuses the user ({_words(cause)}): put the right user and password, or "
                "token, into NATS_URL, as in nats://user:password@host:4222"
            ) from error
        raise BrokerError(
            f"no NATS server answers at {where} ({_words(cause)}): start one, or correct NATS_URL, "
            "or unset it to use the embedded one"
        ) from error
    connection = Connection(client, where)
    version = client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        await connection.close()
        raise BrokerError(
            f"the NATS server at {connection.url} is version {version.major}.{version.minor}.{version.patch}, but "
            f"{OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or newer is needed (consumer priority groups): update it"
        )
    return connection


def _is_refusal(error: BaseException) -> bool:
    return "authorization violation" in str(error).lower()


def _without_secret(url: str) -> str:
    """`url` without user and password, for messages."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _words(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
