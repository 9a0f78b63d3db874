"""What MinioStore alone has, against a real MinIO server."""

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import minio.api
import pytest

from tests.harness import S3Server, broker, free_ports, s3_server
from tests.patience import PATIENCE
from tests.small_disk import small_disk
from v2t_stream.errors import SettingsError, StoreError
from v2t_stream.minio_store import MinioStore, _Source
from v2t_stream.session import check_store, set_up
from v2t_stream.settings import Settings

HOUR = 3600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = s3_server(tmp_path_factory.mktemp("minio"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(server: S3Server) -> MinioStore:
    store = MinioStore(server.settings(), timeout=10)
    await store.create(media_max_age=HOUR)
    return store


async def test_media_expires_after_whole_days_and_transcripts_stay(server: S3Server, store: MinioStore) -> None:
    """Else the disk fills with media, or transcripts vanish."""
    client = server.client()
    for hours, days in ((1, 1), (24, 1), (25, 2), (72, 3)):
        await store.create(media_max_age=hours * HOUR)
        lifecycle = client.get_bucket_lifecycle(bucket_name="v2t-media")
        assert lifecycle is not None
        (rule,) = lifecycle.rules
        assert rule.expiration
        assert (rule.status, rule.expiration.days) == ("Enabled", days)
    assert client.get_bucket_lifecycle(bucket_name="v2t-transcripts") is None
    assert client.get_bucket_lifecycle(bucket_name="v2t-models") is None
    assert client.get_bucket_lifecycle(bucket_name="v2t-uploads") is None


@pytest.mark.parametrize("size", [10, 20_000_000])
async def test_damage_is_noticed(server: S3Server, store: MinioStore, tmp_path: Path, size: int) -> None:
    """Else a broken file is transcribed as if nothing were."""
    client = server.client()
    await store.put("media/j/a", os.urandom(size))
    metadata = client.stat_object(bucket_name="v2t-media", object_name="j/a").metadata
    assert metadata
    client.put_object(
        bucket_name="v2t-media",
        object_name="j/b",
        data=io.BytesIO(bytes(size)),
        length=size,
        metadata={"v2t-xxh3-128": metadata["x-amz-meta-v2t-xxh3-128"]},
    )
    for read in (store.get("media/j/b"), store.get_file("media/j/b", tmp_path / "b")):
        with pytest.raises(StoreError, match=r"media/j/b is damaged .*: store it again"):
            await read
    assert not (tmp_path / "b").exists()


async def test_a_server_that_is_killed_and_started_again_is_waited_for(tmp_path: Path) -> None:
    """Else every restart of MinIO fails the jobs of that moment."""
    server = s3_server(tmp_path / "server")
    server.start()
    try:
        store = MinioStore(server.settings(), timeout=PATIENCE)
        await store.create(media_max_age=HOUR)
        source, copy = tmp_path / "source", tmp_path / "copy"
        source.write_bytes(os.urandom(40_000_000))
        for transfer in (store.put_file("media/j/a", source), store.get_file("media/j/a", copy)):
            under_way = asyncio.create_task(transfer)
            await asyncio.sleep(0.1)
            server.kill()
            await asyncio.to_thread(server.revive)
            await under_way
        assert copy.read_bytes() == source.read_bytes()
    finally:
        server.stop()


async def test_what_others_put_there_is_read(server: S3Server, store: MinioStore, tmp_path: Path) -> None:
    """Else an upload cannot be transcribed."""
    source = tmp_path / "source"
    for size in (0, 5, 12_000_000):
        source.write_bytes(os.urandom(size))
        server.client().fput_object(bucket_name="v2t-uploads", object_name="talks/a.mp4", file_path=str(source))
        key = "s3://v2t-uploads/talks/a.mp4"
        assert await store.size(key) == size
        assert await store.get(key) == source.read_bytes()


async def test_a_reader_gets_the_object_that_replaces_the_one_it_reads(
    store: MinioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first half of one file and the second of another make a third."""
    new = os.urandom(9_000_000)
    await store.put("media/j/a", os.urandom(9_000_000))
    receive = MinioStore._receive
    calls = 0

    def broken_off(self: MinioStore, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        sink = receive(self, *arguments)  # type: ignore[arg-type]
        if calls == 1:
            sink.received -= 1_000_000  # as if it had broken off
            self._upload("media/j/a", _Source(io.BytesIO(new), threading.Event()))
        return sink

    monkeypatch.setattr(MinioStore, "_receive", broken_off)
    assert await store.get("media/j/a") == new
    assert calls == 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"MINIO_ACCESS_KEY": "nobody"}, "does not know the access key: correct MINIO_ACCESS_KEY"),
        ({"MINIO_SECRET_KEY": "not-the-secret"}, "finds the secret key wrong: correct MINIO_SECRET_KEY"),
        ({"MINIO_SECURE": "true"}, "check MINIO_SECURE"),
    ],
)
async def test_wrong_settings_are_named(server: S3Server, wrong: dict[str, str], says: str) -> None:
    """Else who mistyped a key reads a page of XML."""
    store = MinioStore(Settings.from_environment({**server.environment, **wrong}), timeout=4)
    for attempt in (store.create(media_max_age=HOUR), store.get("media/j/a"), store.size("media/j/a")):
        with pytest.raises(StoreError, match=says) as error:
            await attempt
        assert "not-the-secret" not in str(error.value)


async def test_nobody_at_the_endpoint(tmp_path: Path) -> None:
    """Else who forgot to start MinIO waits, and does not know for what."""
    environment = {"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}
    port = free_ports()
    settings = Settings.from_environment({"MINIO_ENDPOINT": f"127.0.0.1:{port}", **environment})
    with pytest.raises(StoreError, match=rf"no MinIO at 127.0.0.1:{port} answers: start it, or correct MINIO_ENDPOINT"):
        await MinioStore(settings, timeout=0.5).put("media/j/a", b"x")
    async with broker(tmp_path / "nats") as (other, _):
        settings = Settings.from_environment({"MINIO_ENDPOINT": f"127.0.0.1:{other.port}", **environment})
        with pytest.raises(StoreError, match="MINIO_ENDPOINT"):
            await MinioStore(settings, timeout=5).put("media/j/a", b"x")


async def test_a_missing_bucket_is_named(server: S3Server) -> None:
    """Else who forgot to set it up takes all media for lost."""
    store = MinioStore(server.settings(MINIO_BUCKET_PREFIX="nowhere-"), timeout=30)
    for attempt in (store.put("media/j/a", b"x"), store.get("media/j/a"), store.size("media/j/a")):
        with pytest.raises(StoreError, match=r"no bucket nowhere-media .* v2t topology apply"):
            await attempt


async def test_a_clock_that_is_wrong_is_named(
    server: S3Server, store: MinioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a machine whose clock stands still fails with a riddle."""
    monkeypatch.setattr(minio.api.time, "utcnow", lambda: datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(StoreError, match=r"clock and that of MinIO at .* more than 15 minutes apart"):
        await store.put("media/j/a", b"x")


async def test_a_full_server_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Else a full disk is a riddle, or harms what was stored before."""
    with small_disk(tmp_path / "small", "64m") as disk:
        server = s3_server(disk)
        server.start()
        try:
            store = MinioStore(server.settings(), timeout=30)
            await store.create(media_max_age=HOUR)
            await store.put("media/j/a", b"small")
            with pytest.raises(
                StoreError, match=r"could not store media/j/a: MinIO at .* no room left.*: free some there"
            ):
                await store.put("media/j/a", bytes(100_000_000))
            assert await store.get("media/j/a") == b"small"
        finally:
            server.stop()


async def test_a_process_with_another_store_is_told(server: S3Server, tmp_path: Path) -> None:
    """Else it looks for media where there are none, and stores transcripts where nobody looks."""
    async with broker(tmp_path / "nats") as (_, connection):
        for operation in (check_store, set_up):
            with pytest.raises(SettingsError, match=r"keep their files in NATS, but .* say MinIO \(v2t-\*\)"):
                await operation(connection, server.settings())
        await set_up(connection, server.settings(), change_store=True)
        await check_store(connection, server.settings())
        with pytest.raises(SettingsError, match=r"keep their files in MinIO \(v2t-\*\), but .* say NATS"):
            await check_store(connection, Settings())
        with pytest.raises(SettingsError, match=r"MinIO \(v2t-\*\), but .* MinIO \(other-\*\)"):
            await check_store(connection, server.settings(MINIO_BUCKET_PREFIX="other-"))
