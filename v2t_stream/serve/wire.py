"""The connections of the server: how long each may take, and how many there may be.

aiohttp waits for ever for a client that sends a request, or takes an answer, at a crawl. Between the socket and its
protocol stands one of ours, which counts what comes; once in a while all connections are looked at.
"""

import asyncio
import contextlib
import json
import math
import resource
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

from aiohttp import web

from v2t_stream.serve import problems
from v2t_stream.serve.problems import Problem
from v2t_stream.units import size

_SPARE: Final = 100  # files that the process needs besides connections
_OVERHEAD: Final = 1 << 20  # bytes of a request's head, and of a form around the file in it
_UNLIMITED: Final = 4000  # connections where the system sets no limit


class Patience(NamedTuple):
    """How long the server waits for a client, in seconds."""

    head: float = 20.0  # for the rest of a request's head
    body: float = 60.0  # in which at least `least` bytes of a body must come
    answer: float = 120.0  # in which a client must take `least` bytes of what waits for it
    idle: float = 75.0  # for the next request on a connection
    linger: float = 10.0  # for the rest of a body that was answered before its end
    least: int = 16 << 10  # bytes
    every: float = 1.0  # between two looks


PATIENT: Final = Patience()


class Wire:
    """All connections of a server."""

    def __init__(self, patience: Patience, most: int = 0) -> None:
        """`most`: connections at a time; 0: what the system's limit of open files allows."""
        self.patience = patience
        self._most = most or _allowed()
        self._connections: set[Connection] = set()

    def protocol(self, inner: asyncio.Protocol) -> "Connection":
        return Connection(self, inner)

    async def run(self) -> None:
        """Look after the connections until cancelled."""
        while True:
            await asyncio.sleep(self.patience.every)
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                connection.look(now)

    def admit(self, connection: "Connection") -> bool:
        """Whether there is room for one more; the one that has waited longest for a request makes room."""
        if len(self._connections) >= self._most:
            idle = [each for each in self._connections if each.is_idle]
            if not idle:
                return False
            min(idle, key=lambda each: each.since).abort()
        self._connections.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        self._connections.discard(connection)

    async def end_streams(self, _: web.Application) -> None:
        """End the answers that go on until somebody ends them."""
        for connection in list(self._connections):
            if connection.streams:
                connection.abort()


class Connection(asyncio.Protocol):
    """Stands before aiohttp's protocol, passes everything on, and counts."""

    transport: asyncio.Transport

    def __init__(self, wire: Wire, inner: asyncio.Protocol) -> None:
        self._wire = wire
        self._inner: asyncio.Protocol | None = inner
        self._request: web.Request | None = None
        self._task: asyncio.Task[object] | None = None
        self._fault: Problem | None = None  # for which the request at work is ended
        self._most = math.inf  # bytes that it may have
        self._received = 0  # bytes, since the last request ended
        self._mark = 0  # of these, when the present stretch began
        self._waits = -1  # bytes that waited for the client when the present stretch began; -1: it takes all
        self.streams = False
        self.since = 0.0  # when the present stretch began, by the loop's clock

    @property
    def is_idle(self) -> bool:
        return self._request is None and self._waits < 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._begin(0)
        if self._wire.admit(self):
            if self._inner:
                self._inner.connection_made(transport)
        else:
            self._inner = None
            self.transport.write(_busy())
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._received:
            self._begin(0)
        self._received += len(data)
        if self._received > self._most + _OVERHEAD and not self._fault:
            self._end(_too_large(self._most))
        if self._inner:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.leave(self)
        if self._inner:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._waits = self.transport.get_write_buffer_size()
        self._begin(self._received)
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._waits = -1
        self._begin(self._received)
        if self._inner:
            self._inner.resume_writing()

    def abort(self) -> None:
        self.transport.abort()

    @contextlib.contextmanager
    def handling(self, request: web.Request, most: float) -> Iterator[None]:
        """While the block runs, this request is at work.

        `most`: bytes of an upload that it may bring. Raises Problem if it brings more, or if its body does not come.
        """
        if (request.content_length or 0) > most + _OVERHEAD:
            raise _too_large(most)
        self._request, self._task, self._most = request, asyncio.current_task(), most
        self._fault, self.streams = None, False
        self._begin(self._received)
        try:
            yield
        except asyncio.CancelledError:
            if fault := self._why_ended():
                raise fault from None
            raise
        finally:
            self._request = self._task = None
            self._received, self._most = 0, math.inf
            self._begin(0)

    def look(self, now: float) -> None:
        """End what has taken too long."""
        patience = self._wire.patience
        if self._waits >= 0:
            if now - self.since > patience.answer:
                self._check_taken()
        elif self._request is None:
            if self._received and now - self.since > patience.head:
                self.abort()
        elif self._request.content.is_eof() or not self.transport.is_reading():
            self._begin(self._received)
        elif now - self.since > patience.body:
            self._check_come()

    def _check_taken(self) -> None:
        waits = self.transport.get_write_buffer_size()
        if self._waits - waits < min(self._wire.patience.least, self._waits):
            self.abort()
        self._waits = waits
        self._begin(self._received)

    def _check_come(self) -> None:
        patience = self._wire.patience
        if self._received - self._mark >= patience.least:
            self._begin(self._received)
        elif self._fault:
            self.abort()
        else:
            self._end(
                Problem(408, f"less than {patience.least} bytes of the body came in {patience.body:g} s: send it again")
            )

    def _end(self, fault: Problem) -> None:
        """End the request at work with this answer."""
        self._fault = fault
        self._begin(self._received)
        if self._task:
            self._task.cancel()

    def _why_ended(self) -> Problem | None:
        """Why we have cancelled the request at work; None if others have."""
        return self._fault if self._task and not self._task.uncancel() else None

    def _begin(self, received: int) -> None:
        """Begin a new stretch, in which something must happen."""
        self._mark = received
        self.since = asyncio.get_running_loop().time()


def connection_of(request: web.Request) -> Connection:
    """The connection of a request. Raises Problem if it has just been lost."""
    found = request.transport.get_protocol() if request.transport else None
    if not isinstance(found, Connection):
        raise Problem(400, "the connection was lost")
    return found


async def mark_stream(request: web.Request, response: web.StreamResponse) -> None:
    """Note that an answer goes on until somebody ends it."""
    if response.content_type == "text/event-stream" and request.transport:
        connection_of(request).streams = True


def _too_large(most: float) -> Problem:
    return Problem(413, f"the body is larger than the allowed {size(most)}: send less")


def _busy() -> bytes:
    text = json.dumps(problems.body(503, "the server has too many open connections: try again in a few seconds"))
    return (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        f"Retry-After: 5\r\nConnection: close\r\n\r\n{text}"
    ).encode()


def _allowed() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if limit == resource.RLIM_INFINITY else max(_SPARE, min(_UNLIMITED, limit - _SPARE))
