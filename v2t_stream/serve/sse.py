"""A stream of server-sent events to one client (html.spec.whatwg.org, "Server-sent events")."""

import asyncio
import contextlib
import json
from typing import Final, Self

from aiohttp import web

from v2t_stream.host import tasks
from v2t_stream.serve.problems import body, problem_of

_HEARTBEAT: Final = 15.0  # seconds; proxies close what is silent for a minute
_SLOW: Final = 60.0  # seconds that a client may take to read what was sent; it may come back with Last-Event-ID


class Stream:
    """Sends events while the block runs, and a comment now and then. What goes wrong in the block is its last event.

    `send` waits until the client has read most of what was sent, so a slow one costs no memory; one that reads nothing
    is cut off.
    """

    def __init__(self, request: web.Request, *, heartbeat: float = _HEARTBEAT, slow: float = _SLOW) -> None:
        self._request = request
        self._heartbeat = heartbeat
        self._slow = slow
        self._sending = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if self._beating:
            await tasks.end(self._beating)
        if not isinstance(error, Exception):
            return False
        with contextlib.suppress(ConnectionError):
            if not isinstance(error, ConnectionError):  # the status was sent long ago
                problem = problem_of(error)
                told = body(problem.status, str(problem), param=problem.param, code=problem.code)
                await self.send("error", json.dumps(told))
        return True

    async def send(self, event: str, data: str, *, id_: int | None = None) -> None:
        """Send an event. `data`: one line. Raises ConnectionError if the client has gone or reads nothing."""
        await self.write(encoded(event, data.encode(), id_=id_))

    async def write(self, events: bytes) -> None:
        """Send events that are already `encoded`. Raises ConnectionError like `send`."""
        async with self._sending:
            try:
                async with asyncio.timeout(self._slow):
                    await self.response.write(events)
            except TimeoutError:
                if self._request.transport:
                    self._request.transport.abort()
                raise ConnectionResetError("the client reads nothing") from None

    async def _beat(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._heartbeat)
                await self.write(b":\n\n")


def encoded(event: str, data: bytes, *, id_: int | None = None) -> bytes:
    """An event as it is sent. `data`: one line."""
    head = f"event: {event}\n" if event else ""
    number = "" if id_ is None else f"id: {id_}\n"
    return b"%bdata: %b\n\n" % (f"{head}{number}".encode(), data)
