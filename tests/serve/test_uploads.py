"""Uploads that go on after an interruption, by the protocol tus 1.0.0."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.conftest import Pipeline
from tests.harness import DATA
from tests.patience import PATIENCE
from tests.serve.api import CLIP, events, problem
from tests.serving import Serving, serving
from v2t_stream.broker.connection import Connection
from v2t_stream.runtime.session import Session
from v2t_stream.serve.uploads import sweep
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.pieces import Pieces

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
NAME = "filename " + base64.b64encode("Gespräch.flac".encode()).decode()
WISH = {"model": "demo", "language": "en", "force": True}


async def begun(client: aiohttp.ClientSession, data: bytes, **headers: str) -> str:
    """The path of a new upload for so many bytes."""
    told = {**TUS, "Upload-Length": str(len(data)), "Upload-Metadata": NAME, **headers}
    async with client.post("/v1/uploads", headers=told) as answer:
        assert answer.status == 201, await answer.text()
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert parsedate_to_datetime(answer.headers["Upload-Expires"])
        return answer.headers["Location"]


async def reach(client: aiohttp.ClientSession, path: str) -> int:
    async with client.head(path, headers=TUS) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        return int(answer.headers["Upload-Offset"])


async def patched(client: aiohttp.ClientSession, path: str, data: bytes, at: int) -> int:
    async with client.patch(path, data=data, headers={**BYTES, "Upload-Offset": str(at)}) as answer:
        assert answer.status == 204, await answer.text()
        return int(answer.headers["Upload-Offset"])


async def test_an_upload_in_parts_becomes_a_transcript(client: aiohttp.ClientSession) -> None:
    """What came over several connections is not one recording."""
    data = CLIP.read_bytes()
    path = await begun(client, data)
    half = len(data) // 2
    assert await patched(client, path, data[:half], 0) == half == await reach(client, path)
    assert await patched(client, path, data[half:], half) == len(data) == await reach(client, path)
    async with client.post("/v1/jobs", json={**WISH, "upload": path.rpartition("/")[2]}) as answer:
        assert answer.status == 202, await answer.text()
        told = await answer.json()
        assert told["title"] == "Gespräch.flac"
    assert (await events(client, told["id"]))[-1][2] == {"state": "completed"}
    async with client.get(f"/v1/jobs/{told['id']}/media") as answer:
        assert await answer.read() == data


async def test_another_server_goes_on_where_one_died(
    pipeline: Pipeline, tmp_path: Path, connection: Connection
) -> None:
    """An update of the server makes everybody send everything again."""
    data = (DATA / "3min.ogg").read_bytes()
    timeout = aiohttp.ClientTimeout(PATIENCE)
    with serving(pipeline.url, tmp_path / "one") as one, serving(pipeline.url, tmp_path / "other") as other:
        async with (
            aiohttp.ClientSession(one.url, timeout=timeout) as client,
            aiohttp.ClientSession(other.url, timeout=timeout) as second,
        ):
            path = await begun(client, data)
            reached = asyncio.Event()
            id_ = path.rpartition("/")[2]

            async def half() -> AsyncIterator[bytes]:
                yield data[:200_000]
                await reached.wait()
                one.process.kill()
                await asyncio.Event().wait()

            async def send() -> None:
                headers = {**BYTES, "Upload-Offset": "0", "Content-Length": str(len(data))}
                with contextlib.suppress(aiohttp.ClientError):
                    await client.patch(path, data=half(), headers=headers)

            sending = asyncio.create_task(send())
            while await reach(second, path) < 200_000:
                await asyncio.sleep(0.05)
            reached.set()
            await sending
            at = await reach(second, path)
            assert at == 200_000
            assert await patched(second, path, data[at:], at) == len(data)
            store = JetStreamStore(connection)
            assert await store.get(f"media/uploads/{id_}/source.flac") == data
            assert await Pieces(store, id_).reach() == 0


async def test_a_cut_connection_keeps_what_arrived(client: aiohttp.ClientSession, server: Serving) -> None:
    """On a bad line nothing ever arrives, because each try begins with the first byte."""
    data = (DATA / "3min.ogg").read_bytes()
    path = await begun(client, data)
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as line:
        head = "\r\n".join(f"{name}: {value}" for name, value in BYTES.items())
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: {where.netloc}\r\n{head}\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
        )
        line.sendall(data[:100_000])
        while await reach(client, path) < 100_000:  # while the line still holds
            await asyncio.sleep(0.05)
        line.sendall(data[100_000:150_000])
    assert (at := await reach(client, path)) >= 100_000
    assert await patched(client, path, data[at:], at) == len(data)


async def test_two_that_send_at_once_do_no_harm(client: aiohttp.ClientSession, connection: Connection) -> None:
    """A client that gave up too early sends again, and the file is two files mixed."""
    data = CLIP.read_bytes()
    path = await begun(client, data)

    async def send(first: int) -> int:
        async def blocks() -> AsyncIterator[bytes]:
            yield data[:first]
            await asyncio.sleep(0.6)  # so that the two cut it at other places
            yield data[first:]

        async with client.patch(path, data=blocks(), headers={**BYTES, "Upload-Offset": "0"}) as answer:
            return answer.status

    statuses = await asyncio.gather(send(10_000), send(30_000))
    assert set(statuses) <= {204, 409}
    at = await reach(client, path)
    if at < len(data):
        await patched(client, path, data[at:], at)
    id_ = path.rpartition("/")[2]
    assert await JetStreamStore(connection).get(f"media/uploads/{id_}/source.flac") == data


@pytest.mark.parametrize(
    ("method", "headers", "status", "says"),
    [
        ("POST", {"Upload-Length": "9"}, 412, "Tus-Resumable is none"),
        ("POST", TUS, 400, "Upload-Length is missing"),
        ("POST", {**TUS, "Upload-Length": "-1"}, 400, "send a number of bytes"),
        ("POST", {**TUS, "Upload-Length": "0"}, 400, "the file is empty"),
        ("POST", {**TUS, "Upload-Length": "9" * 15}, 413, "more than the allowed"),
        ("POST", {**TUS, "Upload-Length": "9", "Upload-Metadata": "filename §"}, 400, "is not base64"),
        ("PATCH", {**BYTES, "Upload-Offset": "3"}, 409, "0 bytes have come"),
        ("PATCH", {**TUS, "Upload-Offset": "0"}, 415, "send application/offset+octet-stream"),
        ("PATCH", {**BYTES}, 400, "Upload-Offset is ''"),
        ("PATCH", {**BYTES, "Upload-Offset": "0", "body": "ten bytes!"}, 413, "more than Upload-Length"),
    ],
)
async def test_what_the_protocol_refuses(
    client: aiohttp.ClientSession, method: str, headers: dict[str, str], status: int, says: str
) -> None:
    """A client that errs sends on, and what it sends is wrong."""
    body = headers.pop("body", "").encode() if "body" in headers else b""
    path = "/v1/uploads" if method == "POST" else await begun(client, b"nine byte")
    async with client.request(method, path, data=body, headers=headers) as answer:
        assert says in (await problem(answer, status))["message"]
        assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_an_upload_can_be_given_up(client: aiohttp.ClientSession) -> None:
    """What nobody wants any more fills the store."""
    path = await begun(client, CLIP.read_bytes())
    await patched(client, path, b"a few bytes", 0)
    async with client.post(path, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}) as answer:
        assert answer.status == 204
    async with client.head(path, headers=TUS) as answer:
        assert answer.status == 404
    async with client.post("/v1/jobs", json={**WISH, "upload": path.rpartition("/")[2]}) as answer:
        await problem(answer, 404)


async def test_the_server_says_what_it_can(client: aiohttp.ClientSession) -> None:
    """Clients that ask first use nothing of it."""
    async with client.options("/v1/uploads") as answer:
        assert answer.status == 204
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert "creation" in answer.headers["Tus-Extension"].split(",")
        assert int(answer.headers["Tus-Max-Size"]) > 0


async def test_uploads_that_never_end_are_removed(client: aiohttp.ClientSession, connection: Connection) -> None:
    """The store fills with halves of files, if media is kept for ever."""
    store = JetStreamStore(connection)
    path, finished = await begun(client, b"nine byte"), await begun(client, b"nine byte")
    await patched(client, path, b"nine", 0)
    await patched(client, finished, b"nine byte", 0)
    pipeline = Session(connection, store, "", local=False)
    await sweep(pipeline, Settings(), lasts=-1)
    for gone in (path, finished):
        id_ = gone.rpartition("/")[2]
        assert await Pieces(store, id_).manifest() is None
        assert await Pieces(store, id_).reach() == 0
    assert await store.get(f"media/uploads/{finished.rpartition('/')[2]}/source.flac") == b"nine byte"
