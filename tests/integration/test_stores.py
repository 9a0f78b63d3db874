"""What every ObjectStore does, on a real nats-server and a real MinIO server."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.harness import S3Server, Server, bytes_in, s3_server
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.errors import ObjectMissing, StoreError
from v2t_stream.store import jetstream_chunks
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.protocol import ObjectStore

DAY = 86_400


class Killable(Protocol):
    folder: Path

    def kill(self) -> None: ...
    def revive(self) -> None: ...
    def frozen(self) -> AbstractContextManager[None]: ...


class Backend:
    """A server, and the stores in it."""

    def __init__(self, server: Killable, store: Callable[[float], ObjectStore]) -> None:
        self.server = server
        self.store = store  # by its timeout in seconds


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[Backend]:
    server = Server(folder)
    server.start()
    try:
        async with await connect(server.url, name="test") as connection:
            yield Backend(server, lambda timeout: JetStreamStore(connection, timeout=timeout))
    finally:
        server.stop()


def minio(server: S3Server) -> Backend:
    """A store with its own buckets on a server that other tests may use too."""
    settings = server.settings(MINIO_BUCKET_PREFIX=f"t{secrets.token_hex(6)}-")
    return Backend(server, lambda timeout: MinioStore(settings, timeout=timeout))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], S3Server]]:
    """One MinIO server for all tests that do not break it, started for the first of them."""
    with contextlib.ExitStack() as stack:
        started: list[S3Server] = []

        def server() -> S3Server:
            if not started:
                started.append(s3_server(tmp_path_factory.mktemp("minio")))
                stack.callback(started[0].stop)
                started[0].start()
            return started[0]

        yield server


@pytest.fixture(params=["nats", "minio"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, shared: Callable[[], S3Server]
) -> AsyncIterator[Backend]:
    if request.param == "minio":
        yield minio(shared())
        return
    async with nats(tmp_path / "server") as backend:
        yield backend


@pytest.fixture(params=["nats", "minio"])
async def fragile(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A store whose server the test may break."""
    if request.param == "nats":
        async with nats(tmp_path / "server") as backend:
            yield backend
        return
    server = s3_server(tmp_path / "server")
    server.start()
    try:
        yield minio(server)
    finally:
        server.stop()


@pytest.fixture
async def store(backend: Backend) -> ObjectStore:
    store = backend.store(10)
    await store.create(media_max_age=DAY)
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "size", [0, 1, jetstream_chunks.CHUNK, jetstream_chunks.CHUNK + 1, 8 << 20, (8 << 20) + 1, 20_000_000]
)
async def test_round_trip(store: ObjectStore, folder: Path, size: int) -> None:
    """Else media or transcripts come back other than they were."""
    source, copy = folder / "source", folder / "copy"
    source.write_bytes(os.urandom(size))
    await store.put_file("media/j/source.mp4", source)
    await store.put("transcripts/j/transcript.srt", source.read_bytes())
    assert await store.size("media/j/source.mp4") == size
    await store.get_file("media/j/source.mp4", copy)
    assert copy.read_bytes() == source.read_bytes()
    assert await store.get("transcripts/j/transcript.srt") == source.read_bytes()
    assert names(folder) == ["copy", "source"]


async def test_any_part_of_an_object_can_be_read_alone(store: ObjectStore, folder: Path) -> None:
    """A player that jumps to the end of a long video waits for all of it, or plays something else."""
    chunk, data = jetstream_chunks.CHUNK, os.urandom(7_000_001)
    (folder / "source").write_bytes(data)
    # Two objects at once, so that the messages of one lie between those of the other.
    await asyncio.gather(
        *(store.put_file(f"media/j{n}/source.mp4", folder / "source") for n in range(3)), store.put("media/j/1", b"1")
    )
    size = len(data)
    for start in (0, 1, chunk - 1, chunk, 3 * chunk + 5, size - 1, size, size + 5):
        for length in (0, 1, 5, chunk, chunk + 1, 3 * chunk):
            assert await store.read("media/j1/source.mp4", start, length) == data[start : start + length]
    assert await store.read("media/j/1", 0, 10) == b"1"
    with pytest.raises(ObjectMissing):
        await store.read("media/j/none", 0, 10)


async def test_a_known_sha256_is_returned(store: ObjectStore, folder: Path) -> None:
    """Else a file that was transcribed before is transcribed again."""
    source = folder / "source"
    source.write_bytes(os.urandom(6_000_000))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    await store.put_file("media/j/source", source, sha256=sha256)
    assert await store.sha256("media/j/source") == sha256
    assert await store.sha256("media/j/other") is None


async def test_keys_are_taken_as_they_are(store: ObjectStore) -> None:
    """Else a file with such a name is lost or found under another."""
    for name in ("a b+c.mp4", "100%.mp4", "a%20b", "日本/語.mp3", "😀.wav", "x'\"&=?#;.flac"):
        await store.put(f"media/j/{name}", name.encode())
        assert await store.get(f"media/j/{name}") == name.encode()
        assert await store.size(f"media/j/{name}") == len(name.encode())
    assert await store.delete_prefix("media/j/") == 6


async def test_putting_again_replaces_the_object(store: ObjectStore) -> None:
    """Else a job done again keeps its old transcript."""
    for data in (os.urandom(10_000_000), b"short", b"", b"end"):
        await store.put("media/j/a", data)
        assert await store.get("media/j/a") == data


async def test_what_is_missing(store: ObjectStore, folder: Path) -> None:
    """Else a stage mistakes a missing object for a broken one, or leaves half a file."""
    assert await store.size("media/j/none") is None
    await store.delete("media/j/none")
    assert await store.delete_prefix("media/none/") == 0
    with pytest.raises(ObjectMissing, match="media/j/none"):
        await store.get("media/j/none")
    with pytest.raises(ObjectMissing, match="media/j/none"):
        await store.get_file("media/j/none", folder / "none")
    with pytest.raises(StoreError, match="/no/such/file"):
        await store.put_file("media/j/none", Path("/no/such/file"))
    with pytest.raises(StoreError, match="elsewhere/x"):
        await store.get("elsewhere/x")
    assert not names(folder)


async def test_delete_prefix_takes_all_of_one_job_and_nothing_else(store: ObjectStore) -> None:
    """Else a cancelled job's media stay, or another job's vanish."""
    await asyncio.gather(*(store.put(f"media/j/chunks/{n}.flac", b"x" * n) for n in range(50)))
    await store.put("media/j2/source.mp4", b"another job")
    await store.delete("media/j/chunks/7.flac")
    assert await store.size("media/j/chunks/7.flac") is None
    assert await store.delete_prefix("media/j/") == 49
    assert await store.delete_prefix("media/j/") == 0
    assert await store.get("media/j2/source.mp4") == b"another job"


async def test_keys_are_listed_by_how_they_begin(store: ObjectStore) -> None:
    """Else nobody knows which models are shared, or leftovers of an old one stay for ever."""
    names = ["models/whisper-cpp/tiny/manifest.json", "models/whisper-cpp/tiny/ab/0", "models/whisper-cpp/tiny.en/x"]
    for name in names:
        await store.put(name, b"x")
    await store.put("transcripts/whisper-cpp/tiny/x", b"x")
    assert sorted(await store.keys("models/")) == sorted(names)
    assert sorted(await store.keys("models/whisper-cpp/tiny/")) == sorted(names[:2])
    assert await store.keys("models/none/") == []


async def test_without_buckets(backend: Backend) -> None:
    """Else a user who forgot to set it up does not learn what to do."""
    store = backend.store(5)
    with pytest.raises(StoreError, match=r"no (such )?bucket"):
        await store.put("media/j/a", b"x")
    with pytest.raises(StoreError) as error:
        await store.get("media/j/a")
    assert not isinstance(error.value, ObjectMissing)


async def test_memory_is_bounded(store: ObjectStore, folder: Path) -> None:
    """Else a long recording takes the machine's memory."""
    source, copy = folder / "source", folder / "copy"
    block = os.urandom(1_000_000)
    with source.open("wb") as file:
        for _ in range(100):
            file.write(block)
    tracemalloc.start()
    try:
        await store.put_file("media/j/source.mp4", source)
        await store.get_file("media/j/source.mp4", copy)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copy.stat().st_size == source.stat().st_size
    assert peak < 60_000_000


async def test_a_server_killed_during_a_put_keeps_the_old_object(fragile: Backend, folder: Path) -> None:
    """Else half a file counts as a whole one."""
    store = fragile.store(10)
    await store.create(media_max_age=DAY)
    await store.put("media/j/source.mp4", b"old")
    source = folder / "source"
    with source.open("wb") as file:
        file.truncate(300_000_000)  # so much that the put is under way when the server is killed
    before = bytes_in(fragile.server.folder)
    put = asyncio.create_task(fragile.store(10).put_file("media/j/source.mp4", source))
    await until(lambda: put.done() or bytes_in(fragile.server.folder) >= before + 20_000_000)
    assert not put.done()
    fragile.server.kill()
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"answer|was lost: try again when it is back"):
        await put
    assert time.monotonic() - started < 100
    fragile.server.revive()
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(StoreError):
                assert await store.get("media/j/source.mp4") == b"old"
                break
    await store.put_file("media/j/source.mp4", source)
    assert await store.size("media/j/source.mp4") == 300_000_000


async def test_a_server_that_hangs_is_waited_for_in_bounded_time(fragile: Backend, folder: Path) -> None:
    """Else a stage hangs with it for ever."""
    store = fragile.store(10)
    await store.create(media_max_age=DAY)
    await store.put("media/j/a", b"here")
    impatient = fragile.store(0.5)
    with fragile.server.frozen():
        for attempt in (
            impatient.get("media/j/a"),
            impatient.get_file("media/j/a", folder / "a"),
            impatient.put("media/j/a", b"there"),
            impatient.size("media/j/a"),
            impatient.delete("media/j/b"),
            impatient.delete_prefix("media/j/"),
        ):
            started = time.monotonic()
            with pytest.raises(StoreError, match="did not answer"):
                await attempt
            assert time.monotonic() - started < 60
    assert not names(folder)


async def test_a_cancelled_put_leaves_nothing(store: ObjectStore, folder: Path) -> None:
    """Else data of a cancelled job turns up later and stays."""
    source = folder / "source"
    with source.open("wb") as file:
        file.truncate(200_000_000)
    put = asyncio.create_task(store.put_file("media/j/a", source))
    await asyncio.sleep(0.3)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await store.size("media/j/a") is None


async def test_of_many_writers_of_one_key_one_stands(store: ObjectStore) -> None:
    """Else two machines that store the same transcript at once leave a mixture."""
    for _ in range(3):
        candidates = [os.urandom(1_500_000) for _ in range(4)]
        await asyncio.gather(*(store.put("transcripts/j/t", data) for data in candidates))
        assert await store.get("transcripts/j/t") in candidates


async def test_many_set_it_up_at_once(backend: Backend) -> None:
    """Else two nodes that start together fail, because both create the buckets."""
    await asyncio.gather(*(backend.store(10).create(media_max_age=DAY) for _ in range(4)))
