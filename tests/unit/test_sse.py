"""Server-sent events as they go over the wire."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from v2t_stream.errors import BrokerError
from v2t_stream.serve.sse import Stream, encoded


@contextlib.asynccontextmanager
async def asked(
    work: Callable[[Stream], Awaitable[None]], *, heartbeat: float = 100, slow: float = 100
) -> AsyncGenerator[ClientResponse]:
    """The answer of a server that does `work` with a stream."""

    async def handle(request: web.Request) -> web.StreamResponse:
        async with Stream(request, heartbeat=heartbeat, slow=slow) as stream:
            await work(stream)
        return stream.response

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, ClientSession() as client, client.get(server.make_url("/")) as answer:
        yield answer


async def test_a_silent_stream_is_kept_alive() -> None:
    """A proxy closes the connection of a job that takes a while."""
    done = asyncio.Event()

    async def wait(_: Stream) -> None:
        await done.wait()

    async with asked(wait, heartbeat=0.01) as answer:
        assert await answer.content.readexactly(6) == b":\n\n:\n\n"
        done.set()
        assert set((await answer.read()).split(b"\n\n")) <= {b":", b""}


async def test_what_goes_wrong_later_is_the_last_event() -> None:
    """The stream ends as if all was well, because its status was sent long ago."""

    async def fail(stream: Stream) -> None:
        await stream.send("progress", "1", id_=7)
        raise BrokerError("the broker is away: try again")

    async with asked(fail) as answer:
        first, second, rest = (await answer.text()).split("\n\n", 2)
    assert first == "event: progress\nid: 7\ndata: 1"
    assert second.startswith('event: error\ndata: {"error": {"message": "the broker is away: try again"')
    assert rest == ""


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """Each browser tab that was closed badly keeps its megabytes for ever."""
    cut: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def flood(stream: Stream) -> None:
        try:
            for _ in range(1000):
                await stream.write(encoded("x", b"y" * 100_000))
        except ConnectionError:
            cut.set_result(True)
            raise

    async with asked(flood, slow=0.2):
        assert await cut  # long before it has written 100 MB
