"""What only JetStreamStore does, on a real nats-server; test_stores.py has what both stores do."""

import asyncio
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.requests import Requests
from v2t_stream.errors import ObjectMissing, StoreError
from v2t_stream.store import jetstream_bucket, jetstream_chunks
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import MEDIA, TRANSCRIPTS
from v2t_stream.store.record import Copy

CHUNK = jetstream_chunks.CHUNK
DAY = 86_400


class Server:
    """A nats-server that can be killed and started again on the same port and data."""

    def __init__(self, directory: Path, config: str = "") -> None:
        self._directory = directory
        self._config = directory / "server.conf"
        self._config.write_text(config)
        self._port = -1
        self.start()

    def start(self) -> None:
        for stale in self._directory.glob("*.ports"):
            stale.unlink()
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        where = ("-a", "127.0.0.1", "-p", str(self._port), "-sd", str(self._directory))
        self.process = subprocess.Popen(
            [binary, "-js", *where, "--ports_file_dir", str(self._directory), "-c", str(self._config)],
            stderr=subprocess.DEVNULL,
        )
        ports: list[Path] = []
        while not ports or not ports[0].read_text():
            assert self.process.poll() is None, "nats-server ended at once"
            time.sleep(0.01)
            ports = list(self._directory.glob("*.ports"))
        self.url = json.loads(ports[0].read_text())["nats"][0]
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def quiet(_: Exception) -> None:
    """nats-py would log what these tests provoke."""


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[NatsClient]:
    client = NatsClient()
    await client.connect(
        server.url, pending_size=64 << 20, max_reconnect_attempts=-1, reconnect_time_wait=1, error_cb=quiet
    )
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    directory = tmp_path / "server"
    directory.mkdir()
    server = Server(directory)
    yield server
    server.kill()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[NatsClient]:
    async with connected(server) as client:
        yield client


@pytest.fixture
async def store(client: NatsClient) -> JetStreamStore:
    store = JetStreamStore(Requests(client, "here"), timeout=5)
    await store.create(media_max_age=DAY)
    return store


async def messages(client: NatsClient, bucket: str) -> int:
    return (await client.jetstream().stream_info(f"OBJ_{bucket}")).state.messages


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_file())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def expected_messages(size: int) -> int:
    return -(-size // CHUNK) + 1


async def test_putting_again_replaces_the_object_and_its_data(store: JetStreamStore, client: NatsClient) -> None:
    await store.put("media/j/a", os.urandom(3_000_000))
    for data in (b"short", os.urandom(2_500_000), b"end"):
        await store.put("media/j/a", data)
        assert await store.get("media/j/a") == data
        assert await messages(client, MEDIA) == expected_messages(len(data))


async def test_delete_leaves_nothing(store: JetStreamStore, client: NatsClient) -> None:
    for number in range(100):
        await store.put(f"media/j/chunks/{number}.flac", b"x" * number)
    await store.put("media/j2/source.mp4", b"another job")
    await store.delete("media/j/chunks/7.flac")
    assert await store.size("media/j/chunks/7.flac") is None
    assert await store.delete_prefix("media/j/") == 99
    assert await store.delete_prefix("media/j/") == 0
    assert await messages(client, MEDIA) == 2
    assert await store.get("media/j2/source.mp4") == b"another job"


async def test_creating_again_changes_what_is_kept(store: JetStreamStore, client: NatsClient) -> None:
    await store.create(media_max_age=DAY)
    await store.create(media_max_age=2 * DAY)
    config = (await client.jetstream().stream_info(f"OBJ_{MEDIA}")).config
    assert config.max_age == 2 * DAY
    assert not (await client.jetstream().stream_info(f"OBJ_{TRANSCRIPTS}")).config.max_age


async def test_without_buckets(client: NatsClient) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        await JetStreamStore(Requests(client, "here")).put("media/j/a", b"x")
    with pytest.raises(StoreError):
        await JetStreamStore(Requests(client, "here")).get("media/j/a")


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_damage_is_noticed(store: JetStreamStore, client: NatsClient, tmp_path: Path, size: int) -> None:
    await store.put("media/j/a", os.urandom(size))
    js = client.jetstream()
    subject = next(iter((await js.stream_info(f"OBJ_{MEDIA}", subjects_filter=f"$O.{MEDIA}.M.>")).state.subjects or ()))
    record = json.loads((await js.get_last_msg(f"OBJ_{MEDIA}", subject)).data or b"")
    await js.publish(
        subject, json.dumps(record | {"digest": "SHA-256=" + "A" * 43 + "="}).encode(), headers={"Nats-Rollup": "sub"}
    )
    for read in (store.get("media/j/a"), store.get_file("media/j/a", tmp_path / "a")):
        with pytest.raises(StoreError, match=r"media/j/a is damaged"):
            await read
    await js.publish(subject, json.dumps(record | {"chunks": 9}).encode(), headers={"Nats-Rollup": "sub"})
    with pytest.raises(StoreError, match="some of its data is lost"):
        await store.get("media/j/a")
    await js.publish(subject, b"{", headers={"Nats-Rollup": "sub"})
    with pytest.raises(StoreError, match="cannot be read"):
        await store.get("media/j/a")
    assert not files(tmp_path)


@pytest.mark.parametrize("size", [10, 9_000_000])
async def test_a_reader_gets_the_object_that_replaces_the_one_it_reads(
    store: JetStreamStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    old, new = os.urandom(size), os.urandom(size)
    await store.put("media/j/a", old)
    data = jetstream_bucket.Bucket.data
    reads = 0

    async def late(bucket: Any, record: Any) -> AsyncGenerator[list[bytes], None]:
        nonlocal reads
        reads += 1
        if reads == 1:
            await store.put("media/j/a", new)
        async for batch in data(bucket, record):
            yield batch

    monkeypatch.setattr(jetstream_bucket.Bucket, "data", late)
    assert await store.get("media/j/a") == new
    assert reads == 2


async def test_nats_py_reads_what_we_write_and_we_what_it_writes(store: JetStreamStore, client: NatsClient) -> None:
    theirs = await client.jetstream().object_store(MEDIA)
    for size in (0, 5, 2_500_000):
        data = os.urandom(size)
        await store.put("media/j/ours.mp4", data)
        info = await theirs.get_info("media/j/ours.mp4")
        assert (info.size, info.name, info.bucket) == (size, "media/j/ours.mp4", MEDIA)
        sink = io.BytesIO()
        await theirs.get("media/j/ours.mp4", writeinto=sink)
        assert sink.getvalue() == data
        await theirs.put("media/j/theirs.mp4", data)
        assert await store.get("media/j/theirs.mp4") == data
    await theirs.delete("media/j/ours.mp4")
    assert await store.size("media/j/ours.mp4") is None
    with pytest.raises(ObjectMissing):
        await store.get("media/j/ours.mp4")
    await store.put("media/j/ours.mp4", b"over its tombstone")
    assert await store.get("media/j/ours.mp4") == b"over its tombstone"
    await store.delete("media/j/ours.mp4")
    assert [info.name for info in await theirs.list()] == ["media/j/theirs.mp4"]


async def test_a_commit_without_an_answer_keeps_its_data(
    store: JetStreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = jetstream_bucket.Bucket._commit

    async def lose_the_answer(*arguments: Any) -> None:
        await commit(*arguments)
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(jetstream_bucket.Bucket, "_commit", lose_the_answer)
        with pytest.raises(StoreError):
            await store.put("media/j/a", b"stored all the same")
    assert await store.get("media/j/a") == b"stored all the same"


async def test_a_cancelled_put_takes_its_data_back(store: JetStreamStore, client: NatsClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(200_000_000)
    before = client.stats["out_msgs"]
    put = asyncio.create_task(store.put_file("media/j/a", source))
    await until(lambda: client.stats["out_msgs"] >= before + 20)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    # What comes next in the stream comes after all that was under way.
    await store.put("media/j/b", b"next")
    state = (await client.jetstream().stream_info(f"OBJ_{MEDIA}")).state
    assert state.messages <= 3
    assert state.bytes < 2000
    assert await store.size("media/j/a") is None


async def test_two_writers_of_one_key_leave_one_object(server: Server, store: JetStreamStore) -> None:
    async with connected(server) as one, connected(server) as two:
        for _ in range(20):
            candidates = [os.urandom(1_500_000) for _ in range(4)]
            writers = [JetStreamStore(Requests(client, "here"), timeout=5) for client in (one, two, one, two)]
            await asyncio.gather(
                *(writer.put("transcripts/j/t", data) for writer, data in zip(writers, candidates, strict=True))
            )
            assert await store.get("transcripts/j/t") in candidates
            assert await messages(one, TRANSCRIPTS) == expected_messages(1_500_000)


async def test_sweep_takes_what_no_record_names(store: JetStreamStore, client: NatsClient) -> None:
    await store.put("transcripts/j/t", b"kept")
    for _ in range(3):
        await client.jetstream().publish(f"$O.{TRANSCRIPTS}.C.left", b"by a killed writer")
    assert await store.sweep("transcripts") == 0  # it may still be at work
    assert await store.sweep("transcripts", idle=0) == 1
    assert await messages(client, TRANSCRIPTS) == 2
    assert await store.get("transcripts/j/t") == b"kept"


async def test_a_full_server_gives_a_sentence(tmp_path: Path) -> None:
    server = Server(tmp_path, "jetstream { max_file_store: 5MB }\n")
    try:
        async with connected(server) as client:
            store = JetStreamStore(Requests(client, "here"), timeout=5)
            await store.create(media_max_age=DAY)
            await store.put("media/j/a", b"small")
            with pytest.raises(StoreError, match=r"could not store media/j/a: the NATS server has no room left"):
                await store.put("media/j/a", bytes(20_000_000))
            async with asyncio.timeout(PATIENCE):  # nobody waits for the purge; an empty message may come after it
                while await messages(client, MEDIA) > expected_messages(5) + 1:
                    await asyncio.sleep(0.01)
            await store.put("media/j/b", b"there is room again")
            assert await store.get("media/j/a") == b"small"
    finally:
        server.kill()


async def test_a_full_local_disk_gives_a_sentence(
    store: JetStreamStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await store.put("media/j/a", b"x")
    monkeypatch.setattr(Copy, "take", full)
    with pytest.raises(StoreError, match=r"fetch media/j/a into .*/a: No space left on device: free space there"):
        await store.get_file("media/j/a", tmp_path / "a")
    assert not files(tmp_path)
