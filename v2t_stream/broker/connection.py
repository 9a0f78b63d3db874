"""The connection to NATS: publish with an ack, read, replay and watch facts.

This module translates nats-py's exceptions into ours; nothing above it sees them.
"""

import asyncio
import base64
import contextlib
import json
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, TypeVar

import nats.errors
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from schemas.message import Message, encode
from v2t_stream.broker import direct_get, error_codes
from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.denials import denied_subject
from v2t_stream.broker.direct_get import Bells
from v2t_stream.broker.lineage import Lineage
from v2t_stream.broker.login import NONE as NO_LOGIN
from v2t_stream.broker.login import Login, without_secret
from v2t_stream.broker.puller import GONE, words
from v2t_stream.errors import BrokerError, Denied, StoreChanged
from v2t_stream.traces import begin, header

log = logging.getLogger(__name__)

OLDEST_SERVER: Final = (2, 12)  # consumer priority groups with ranks
_ACK_TIMEOUT: Final = 2.0  # seconds until what nobody answered is sent again
_ANSWERS: Final = 20.0  # seconds in which a server that takes a connection must answer on it
_PUBLISH_PATIENCE: Final = 120.0  # seconds a publish outlasts a broker that is away
_REQUEST_TIMEOUT: Final = 10.0  # seconds
_FLUSH: Final = 2  # seconds at the end of a connection; a server that goes at that moment never answers
_RECOVERS: Final = 0.2  # seconds until a server that has not recovered a stream yet is asked again
_PAGES: Final = 32  # pages of a stream that are read side by side
_DOUBT: Final = 60.0  # seconds after a reconnect in which readers ask again whether the streams are the same
_RECHECK: Final = 2.0  # seconds between two such questions
_REQUESTS: Final = 10  # times that a request is sent: elections in a cluster take twenty seconds on a busy machine

Answer = TypeVar("Answer")


class Connection:
    """One connection to a NATS server with JetStream. Made by `connect`."""

    def __init__(self, client: NatsClient, url: str) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=_REQUEST_TIMEOUT)
        self.url = url
        self.lineage = Lineage(url)
        self._checked = 0  # the reconnects after which the streams were found to be the same
        self._doubted = -math.inf  # when that was, by the monotonic clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        with contextlib.suppress(*GONE):
            if self.client.is_connected:
                await self.client.flush(_FLUSH)
        with contextlib.suppress(*GONE):
            await self.client.close()

    async def hold_to(self, stream: str) -> None:
        """Work for the streams of now alone: where `stream` is another one after a reconnect, publishing raises.

        A message of a store that was lost has the number of another message in the next: its ack would remove work
        that nobody has done, and its job may have the id of another job. Raises BrokerError.
        """
        self._checked = self.client.stats["reconnects"]
        self.lineage.hold(stream, await self.api(f"STREAM.INFO.{stream}"))

    async def check_store(self) -> None:
        """Raises StoreChanged as `hold_to` says, and nats.errors.Error while that cannot be told."""
        if self._is_checked:
            return
        if not self.client.is_connected:
            raise nats.errors.ConnectionReconnectingError
        reconnects = self.client.stats["reconnects"]
        await self._compare()
        self._checked, self._doubted = reconnects, time.monotonic()

    async def _compare(self) -> None:
        for stream in self.lineage.streams:
            info = json.loads((await self._request(f"$JS.API.STREAM.INFO.{stream}", b"")).data)
            if "created" not in info:  # the server has not recovered it yet, or nobody has made it anew
                raise nats.errors.ConnectionReconnectingError
            self.lineage.check(stream, info)

    @property
    def _is_checked(self) -> bool:
        is_same = self.client.is_connected and self.client.stats["reconnects"] == self._checked
        return not self.lineage.is_held or (is_same and not self.lineage.is_broken)

    async def _check_history(self) -> None:
        """For readers: raises StoreChanged where what they have read is no more what was.

        An older copy may have taken as many messages as it had lost before we are connected again. Then a stage that
        saw these notices it, and the inbox says so a moment later.
        """
        with contextlib.suppress(nats.errors.Error):
            await self.check_store()
            now = time.monotonic()
            if self.lineage.is_held and self._checked and _RECHECK < now - self._doubted < _DOUBT:
                await self._compare()

    async def watch_store(self) -> None:
        """Until cancelled, or until it raises StoreChanged."""
        while True:
            with contextlib.suppress(nats.errors.Error):
                await self.check_store()
            await asyncio.sleep(1)

    async def api(self, name: str, request: object = None) -> dict[str, Any]:
        """One JetStream API request; raises BrokerError with the server's own description."""
        with self._told(name):
            return await _patiently(lambda seconds: self._ask(name, request, seconds))

    async def _ask(self, name: str, request: object, seconds: float) -> dict[str, Any]:
        """The same, sent once; raises nats.errors.Error where there is no answer."""
        payload = json.dumps(request).encode() if request is not None else b""
        reply = await self.client.request(f"$JS.API.{name}", payload, timeout=seconds)
        answer: dict[str, Any] = json.loads(reply.data)
        if error := answer.get("error"):
            if error.get("err_code") == error_codes.NO_LEADER:
                await asyncio.sleep(_ACK_TIMEOUT)
                raise nats.errors.TimeoutError
            raise BrokerError(f"the NATS server at {self.url} refused {name}: {error.get('description')}")
        return answer

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """That a request of the JetStream API has no answer, as BrokerError."""
        try:
            yield
        except nats.errors.NoRespondersError:
            raise BrokerError(f"the NATS server at {self.url} has no JetStream: start it with -js") from None
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer {name}: {words(error)}") from error

    async def _request(self, subject: str, payload: bytes) -> Msg:
        return await _patiently(lambda seconds: self.client.request(subject, payload, timeout=seconds))

    async def publish(self, message: Message, *, dedupe: str = "", replaces: int = 0) -> bool:
        """Publish `message` on its subject and wait until it is stored; False where one stands there already.

        That one may be our own, where the answer to it was lost. A message whose class says ONCE is stored only where
        nothing stands on the subject that excludes it, for most their own. While the broker is away this tries again
        for two minutes, then it raises BrokerError. What is sent again carries the same id, so it is stored once, also
        where somebody has removed it since. `dedupe`: the id where a later call is to count as the same within two
        minutes. `replaces`: the sequence of what must stand on the message's own subject.
        """
        headers = {"Nats-Msg-Id": dedupe or secrets.token_urlsafe(9), **header()}
        if replaces or message.ONCE:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(replaces)
        if message.excluded_by != message.subject and message.ONCE and not replaces:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = message.excluded_by
        answer = await self.store(message.subject, encode(message), headers)
        error = answer.get("error")
        if error is None:
            self.lineage.stored(answer["stream"], answer["seq"])
            return True
        if error.get("err_code") == error_codes.WRONG_SEQUENCE:
            return False
        raise BrokerError(f"the NATS server refused {message.subject}: {error.get('description')}")

    async def submit(
        self, subject: str, data: bytes, dedupe: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bool]:
        """Put bytes into the inbox; their sequence number, and whether the same `dedupe` id was there already."""
        answer = await self.store(subject, data, {"Nats-Msg-Id": dedupe, **(headers or {}), **begin()}, patient=False)
        if error := answer.get("error"):
            raise BrokerError(f"the NATS server refused {subject}: {error.get('description')}")
        self.lineage.stored(answer["stream"], answer["seq"])
        return answer["seq"], answer.get("duplicate", False)

    async def store(
        self, subject: str, data: bytes, headers: dict[str, str], *, patient: bool = True
    ) -> dict[str, Any]:
        """Publish on a subject of a stream until the server says what became of it; its answer, perhaps an error.

        A duplicate in the answer is one of another call. `patient`: also where there is no room. Raises BrokerError
        where two minutes did not do.
        """
        give_up = time.monotonic() + _PUBLISH_PATIENCE
        sent = 0
        while True:
            sent += 1
            try:
                await self.check_store()
                reply = await self.client.request(subject, data, timeout=_ACK_TIMEOUT, headers=headers)
                answer: dict[str, Any] = json.loads(reply.data)
            except (nats.errors.ConnectionClosedError, nats.errors.MaxPayloadError) as error:
                raise BrokerError(f"could not publish {subject}: {words(error)}") from error
            except (nats.errors.Error, TimeoutError) as error:
                # No responders also means: the server is up again and has not recovered its streams yet.
                if time.monotonic() > give_up:
                    raise BrokerError(f"no answer from the NATS server at {self.url} to {subject}") from error
                await asyncio.sleep(0.2)
            else:
                # 503: JetStream is up but the stream has no leader, or no room, at this moment.
                refusal = answer.get("error", {})
                code = refusal.get("err_code")
                if (refusal.get("code") != 503 and code not in error_codes.IN_PROCESS) or time.monotonic() > give_up:
                    return answer if sent == 1 else {**answer, "duplicate": False}
                if code in error_codes.NO_ROOM and not patient:
                    raise BrokerError(
                        f"the NATS server at {self.url} has no room left: free disk space there, or raise its "
                        "max_file_store"
                    )
                await asyncio.sleep(0.2)

    async def tell(self, message: Message) -> None:
        """Publish for display only, waiting for nothing."""
        if self._is_checked:
            with contextlib.suppress(nats.errors.Error):  # progress that nobody sees costs nothing
                await self.client.publish(message.subject, encode(message))

    async def any_of(self, stream: str, subjects: list[str]) -> bool:
        """Whether a message stands on at least one of `subjects`, as the stream's leader has it."""
        if not await self.seems_any_of(stream, subjects):
            return False
        for subject in subjects:
            if await self.last(stream, subject) is not None:
                return True
        return False

    async def seems_any_of(self, stream: str, subjects: list[str]) -> bool:
        """The same by whichever replica answers: one request, whatever the number of subjects, at most 1,024.

        Of one that lags behind, "none" makes for work done twice, which is harmless; "there is", where a retry has
        just removed it, would lose the work, which is why `any_of` asks the leader about it.
        """
        return await self._direct(stream, {"multi_last": subjects, "batch": 1}) is not None

    async def last(self, stream: str, subject: str) -> bytes | None:
        """The latest message on `subject`, or None; from the stream's leader, for another replica may lag behind."""
        message = await self._last(stream, subject)
        return None if message is None else base64.b64decode(message.get("data", ""))

    async def last_sequence(self, stream: str, subject: str) -> int:
        """The sequence of the latest message on `subject`, as the leader has it; 0 where there is none."""
        message = await self._last(stream, subject)
        return message["seq"] if message else 0

    async def _last(self, stream: str, subject: str) -> dict[str, Any] | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except BrokerError as error:
            if "no message found" not in str(error):
                raise
            return None
        message: dict[str, Any] = answer["message"]
        return message

    async def _direct(self, stream: str, request: dict[str, Any]) -> Msg | None:
        try:
            reply = await self._request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode())
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"the NATS server at {self.url} did not answer: {words(error)}") from error
        status = direct_get.status_of(reply)
        if status in ("404", "204"):
            return None
        if status:
            raise BrokerError(
                f"the NATS server at {self.url} refused a read: {(reply.headers or {}).get('Description')}"
            )
        return reply

    async def latest(self, stream: str, pattern: str) -> list[bytes]:
        """The latest message on each subject that matches, in a stream that keeps one of each. Raises BrokerError."""
        return [stored.data async for stored in self._read(stream, [pattern], {pattern: 0})]

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """The subjects in `stream` that match `pattern` and hold a message."""
        found: dict[str, int] = {}
        while True:  # the server answers at most 100,000 subjects at a time
            answer = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": len(found)})
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return list(found)

    async def messages(self, stream: str) -> int:
        """How many messages `stream` holds."""
        count: int = (await self.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
        return count

    async def watch(
        self, stream: str, *patterns: str, live: bool = True, after: int = 0
    ) -> AsyncGenerator["Stored | None"]:
        """The stream's messages on `patterns`: first what stands there, then None, then (if `live`) what comes.

        `after`: only what has a higher sequence. On each pattern they come in the stream's order, without a gap or a
        double, also where the server goes away meanwhile; what is replaced before it was read is left out. The server
        makes nothing for that, so there can be as many watches as one likes. Raises BrokerError where it is away at the
        start, and StoreChanged as `hold_to` says.
        """
        reached = dict.fromkeys(patterns, after)
        async for stored in self._read(stream, list(patterns), reached):
            yield stored
        if not live:
            yield None
            return
        async with Bells(self.client, patterns) as bells:
            async for stored in self._read(stream, list(patterns), reached):  # what came before it could be heard of
                yield stored
            yield None
            while True:
                self.lineage.stored(stream, max(reached.values()))
                behind = await bells.next(reached)
                await self._check_history()
                try:
                    async for stored in self._read(stream, behind, reached):
                        yield stored
                except (Denied, StoreChanged):
                    raise
                except BrokerError:
                    if self.client.is_closed:
                        raise
                    await asyncio.sleep(_RECOVERS)
                    bells.suspect()

    async def _read(self, stream: str, patterns: list[str], reached: dict[str, int]) -> AsyncGenerator["Stored"]:
        """What stands on `patterns` behind the sequence that each has `reached`, which this moves on."""
        waiting = deque(patterns)
        while waiting:
            asked = [waiting.popleft() for _ in range(min(_PAGES, len(waiting)))]
            pages = await asyncio.gather(*(self._page(stream, pattern, reached[pattern]) for pattern in asked))
            for pattern, page in zip(asked, pages, strict=True):
                for message in page.messages:
                    stored = _stored(message)
                    reached[pattern] = stored.sequence
                    yield stored
                if page.has_more:
                    waiting.append(pattern)

    async def _page(self, stream: str, pattern: str, after: int) -> direct_get.Page:
        async def ask(seconds: float) -> direct_get.Page:
            page = await direct_get.page(self.client, stream, pattern, after, seconds)
            if page.status == "503":
                await self._ask(f"STREAM.INFO.{stream}", None, seconds)  # raises where there is no such stream
                await asyncio.sleep(_RECOVERS)
                raise nats.errors.TimeoutError
            return page

        with self._told(f"DIRECT.GET.{stream}"):
            return await _patiently(ask)


async def _patiently(ask: Callable[[float], Awaitable[Answer]]) -> Answer:
    """What `ask` gives; asked again where that takes longer than the seconds that it is given.

    So what was on its way when the server or a leader went is not waited for long. The last time raises TimeoutError.
    """
    for _ in range(_REQUESTS - 1):
        with contextlib.suppress(TimeoutError):
            return await ask(_ACK_TIMEOUT)
    return await ask(_REQUEST_TIMEOUT)


class Stored(NamedTuple):
    """One message as the stream holds it."""

    subject: str
    data: bytes
    sequence: int
    at: float  # Unix seconds by the server's clock, the only clock all machines share


def _stored(message: Msg) -> Stored:
    """What a direct get answered with, whose headers are the server's where the publisher wrote the same ones."""
    headers: dict[str, str] = message.headers or {}
    at = datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp()
    return Stored(headers["Nats-Subject"], message.data, int(headers["Nats-Sequence"]), at)


class _Limit:
    """How long `connect` tries: shorter where it is refused, longer where somebody took the connection."""

    def __init__(self, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._patience = patience  # seconds
        self.timeout = asyncio.timeout(patience)

    def reached(self) -> None:
        self._until(self._begun + max(self._patience, _ANSWERS))

    def hear(self, error: Exception, *, is_final: bool) -> None:
        """`is_final`: it will not change its mind."""
        if is_final:
            self._until(self._loop.time() + 0.1)  # a moment later, so that the client has closed its socket
        elif not isinstance(error, TimeoutError):
            self._until(self._begun + self._patience)

    def _until(self, when: float) -> None:
        with contextlib.suppress(RuntimeError):  # it is over: connected, or given up
            self.timeout.reschedule(when)


async def connect(url: str, *, name: str, patience: float = 5.0, login: Login = NO_LOGIN) -> Connection:
    """Connect to the NATS server at `url`, trying for `patience` seconds; afterwards it reconnects for ever.

    One that takes a connection and is slow to answer is waited for longer.
    `url` may be several, separated by commas, of which one that answers is taken. Raises SettingsError where a file of
    `login` does not serve, and BrokerError with one sentence: nobody answers there, credentials refused, the server's
    certificate is not trusted, server too old.
    """
    urls = [part.strip() for part in url.split(",")]
    where = ",".join(map(without_secret, urls))
    options = login.options(urls)
    trouble: list[Exception] = []
    told: set[tuple[int, str]] = set()
    limit = _Limit(patience)

    async def on_error(error: Exception) -> None:
        if connected:
            # Once for each time that it is lost: it is tried on, as somebody may mend it.
            tells = (client.stats["reconnects"], login.refusal(error, where))
            if tells[1] and tells not in told:
                log.error("%s", tells[1])
            told.add(tells)
        if client.is_connected and denied_subject(error) and not client.hear(error):
            log.warning("the NATS server at %s forbids something: %s", where, words(error))
        if not any(login.refusal(each, where) for each in trouble):  # the connection's end may follow as its own error
            trouble[:] = [error]
        limit.hear(error, is_final=bool(login.refusal(error, where)))

    client = NatsClient(options.get("user", ""), insists_on_tls=login.needs_tls(urls), reached=limit.reached)
    connected = False
    try:
        async with limit.timeout:
            await client.connect(
                urls,
                name=name,
                **options,
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
        raise BrokerError(
            login.refusal(cause, where)
            or f"no NATS server answers at {where} ({words(cause)}): start one, or correct NATS_URL, "
            "or unset it to use the embedded one"
        ) from error
    connection = Connection(client, where)
    await _check_version(connection)
    return connection


async def _check_version(connection: Connection) -> None:
    """Closes the connection and raises BrokerError where the server is too old."""
    version = connection.client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        await connection.close()
        raise BrokerError(
            f"the NATS server at {connection.url} is version {version.major}.{version.minor}.{version.patch}, but "
            f"{OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or newer is needed (consumer priority groups): update it"
        )
