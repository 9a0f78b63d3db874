"""What clients that are slow, greedy or broken get, and that others do not notice them."""

import asyncio
import contextlib
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.builders import downloaded, submitted
from tests.harness import Server, shared_broker
from tests.patience import PATIENCE
from tests.serve.api import problem
from tests.serve.inside import Inside, inside
from v2t_stream.serve.wire import Patience
from v2t_stream.store.jetstream_store import JetStreamStore

SHORT = Patience(head=0.4, body=0.4, answer=0.4, idle=0.4, linger=0.2, every=0.05)
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
LARGE = 20_000_000  # bytes, far more than sockets hold


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shared_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def hasty(broker: Server, tmp_path: Path) -> AsyncIterator[Inside]:
    """A server without patience."""
    async with inside(broker.url, tmp_path, patience=SHORT) as running:
        yield running


@pytest.fixture
async def served(broker: Server, tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(broker.url, tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def raw(served: Inside, text: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has sent this."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 16)
    try:
        writer.write(text.encode())
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    return b""


def posting(served: Inside, path: str, length: int, body: str = "", **headers: str) -> str:
    """The head of a request with such a body, and as much of that."""
    told = {"Host": f"127.0.0.1:{served.port}", "Content-Type": "application/json", "Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**told, **headers}.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n{body}"


async def large(served: Inside) -> str:
    """A job with a medium that does not fit into sockets."""
    await JetStreamStore(served.connection).put("media/large/source", os.urandom(LARGE))
    if not await served.connection.last("V2T_JOBS", "v2t.job.large.submitted"):
        await served.connection.publish(submitted("large"))
        await served.connection.publish(downloaded("large", media="media/large/source", size=LARGE))
    return "/v1/jobs/large/media"


async def test_others_are_served_while_fifty_clients_hang(hasty: Inside, caplog: pytest.LogCaptureFixture) -> None:
    """A few broken clients, or one of bad will, stop the server for everybody."""
    path = await large(hasty)
    host = f"Host: 127.0.0.1:{hasty.port}\r\n"
    kinds = (
        "",  # says nothing
        "GET /v1/jobs HTTP/1.1\r\nX-Slow: ",  # never ends its head
        posting(hasty, "/v1/jobs", 1_000_000, '{"url": "'),  # never ends its body
        f"GET {path} HTTP/1.1\r\n{host}\r\n",  # takes no answer
        f"POST /v1/jobs HTTP/1.1\r\n{host}{FORM}Transfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n",  # nor its form
    )
    async with contextlib.AsyncExitStack() as stack:
        hanging = [await stack.enter_async_context(raw(hasty, kind)) for kind in kinds for _ in range(10)]
        async with hasty.client() as client, asyncio.timeout(PATIENCE):
            for path in ("/health", "/v1/jobs", "/v1/jobs/large", "/v1/session"):
                async with client.get(path) as answer:
                    assert answer.status == 200
        # And nobody waits for them for ever.
        assert len(await asyncio.gather(*(rest(reader) for reader, _ in hanging))) == len(hanging)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_a_body_that_comes_too_slowly_is_answered_in_words(hasty: Inside) -> None:
    """The client learns only that the connection ended, and tries again in the same way."""
    async with raw(hasty, posting(hasty, "/v1/jobs", 1_000_000, '{"url": "')) as (reader, _):
        head, _, body = (await rest(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    error = json.loads(body)["error"]
    assert error["message"] == "less than 16384 bytes of the body came in 0.4 s: send it again"


async def test_a_slow_but_steady_body_is_taken(broker: Server, tmp_path: Path) -> None:
    """Whoever has a slow line can send nothing at all."""
    steady = SHORT._replace(least=20)
    async with inside(broker.url, tmp_path, patience=steady) as served:
        wish = json.dumps({"url": "http://127.0.0.1:9/x", "title": "x" * 300})
        async with raw(served, posting(served, "/v1/jobs", len(wish), Connection="close")) as (reader, writer):
            for place in range(0, len(wish), 10):
                writer.write(wish[place : place + 10].encode())
                await writer.drain()
                await asyncio.sleep(0.05)  # of a slow line: in all four times what a body may stand still
            assert (await rest(reader)).startswith((b"HTTP/1.1 202 ", b"HTTP/1.1 400 "))


async def test_a_client_that_takes_nothing_costs_no_memory_and_is_let_go(hasty: Inside) -> None:
    """Each player that was paused keeps a whole film in the memory of the server."""
    path = await large(hasty)
    async with raw(hasty, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{hasty.port}\r\n\r\n") as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        await asyncio.sleep(3 * SHORT.answer)  # of a client that does not read
        assert len(await rest(reader)) < LARGE
    async with hasty.client() as client, client.get(path) as answer:  # whoever reads gets all of it
        assert len(await answer.read()) == LARGE


async def test_many_who_ask_for_media_at_once_get_it(served: Inside, caplog: pytest.LogCaptureFixture) -> None:
    """NATS cuts a server off that takes too much at once, and with it everybody whom the server serves."""
    path = await large(served)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n"
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw(served, request)) for _ in range(60)]
        async with asyncio.timeout(PATIENCE):
            for reader, _ in clients:
                await reader.readexactly(100_000)
        assert served.connection.client.stats["reconnects"] == 0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_an_answer_that_breaks_off_looks_like_it(served: Inside, caplog: pytest.LogCaptureFixture) -> None:
    """A client takes the beginning of a film, with an error behind it, for the whole."""
    path = await large(served)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n"
    async with raw(served, request) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        await JetStreamStore(served.connection).delete("media/large/source")
        came = await rest(reader)
        assert len(came) < LARGE
        assert b'"error"' not in came[-1000:]
    (record,) = (record for record in caplog.records if record.levelname in ("WARNING", "ERROR"))
    assert record.message.startswith(f"the answer to GET {path} broke off: ")


async def test_a_key_may_ask_so_often_and_others_do_not_notice(served: Inside) -> None:
    """One program in a loop takes the server from everybody."""
    greedy, other = await served.key("ann", "viewer", requests=3), await served.key("bob", "viewer")
    async with served.client(greedy) as client:
        statuses = []
        for _ in range(4):
            async with client.get("/v1/jobs") as answer:
                statuses.append(answer.status)
                if answer.status == 429:
                    error = await problem(answer, 429)
                    wait = int(answer.headers["Retry-After"])
        assert statuses == [200, 200, 200, 429]
        assert error["code"] == "rate_limit_exceeded"
        assert error["message"] == f"the key ann may send 3 requests a minute: try again in {wait} s"
        assert 1 <= wait <= 20
    async with served.client(other) as client, client.get("/v1/jobs") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_a_key_may_send_so_much(served: Inside, *, declared: bool) -> None:
    """One person fills the store for everybody."""
    key = await served.key("ann", "submitter", max_bytes=1_000_000)

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(60):
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    async with served.client(key) as client:
        data = io.BytesIO(b"".join([part async for part in body()])) if declared else body()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        async with client.post("/v1/jobs", data=data, headers=headers) as answer:
            assert "larger than the allowed 1.0 MB" in (await problem(answer, 413))["message"]


async def test_what_is_read_into_memory_is_bounded(served: Inside) -> None:
    """One request takes all memory."""
    async with served.client() as client:
        headers = {"Content-Type": "application/json"}
        async with client.post("/v1/jobs", data=io.BytesIO(bytes(6_000_000)), headers=headers) as answer:
            assert "larger than the server takes into memory" in (await problem(answer, 413))["message"]
        form = aiohttp.FormData([(f"field{n}", "x" * 1_000_000) for n in range(10)], default_to_multipart=True)
        async with client.post("/v1/jobs", data=form) as answer:
            assert "the fields of the form have more than" in (await problem(answer, 413))["message"]
        async with client.get("/health", headers={"X-Large": "x" * 100_000}) as answer:
            assert answer.status == 400
        async with client.get(f"/v1/jobs/{'x' * 100_000}") as answer:
            assert answer.status == 400


async def test_a_connection_that_does_nothing_makes_room(broker: Server, tmp_path: Path) -> None:
    """Whoever opens many connections keeps everybody else out."""
    async with inside(broker.url, tmp_path, most=3) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(raw(served, "GET /health"))
        async with served.client() as client, client.get("/health") as answer:
            assert answer.status == 200


async def test_when_all_are_busy_the_next_one_is_told(broker: Server, tmp_path: Path) -> None:
    """A full server looks like one that is gone, or takes on more than it can hold."""
    async with inside(broker.url, tmp_path, most=2) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            listener = await stack.enter_async_context(served.client())
            await stack.enter_async_context(listener.get("/v1/events"))
        async with served.client() as client, client.get("/health") as answer:
            assert answer.headers["Retry-After"] == "5"
            assert "too many open connections" in (await problem(answer, 503))["message"]
