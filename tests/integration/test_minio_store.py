"""What only MinioStore does, on a real S3 server."""

import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import minio.api
import pytest
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from schemas.objects import Version
from tests.harness import S3Server, broker, free_ports, s3_server
from tests.patience import PATIENCE
from tests.small_disk import small_disk
from v2t_stream.errors import InvalidKey, ObjectMissing, SettingsError, StoreAway, StoreError, VersionGone
from v2t_stream.runtime.set_up import check_store, set_up
from v2t_stream.settings import Settings
from v2t_stream.store import minio_buckets, minio_transfer
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.minio_transfer import Place, Sink, Source, upload

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


async def test_media_expires_after_whole_days_and_transcripts_stay(store: MinioStore) -> None:
    """Else the disk fills with media, or transcripts vanish."""
    for hours, days in ((1, 1), (24, 1), (25, 2), (72, 3)):
        await store.create(media_max_age=hours * HOUR)
        assert await store.lifetimes() == {"media": days * 24 * HOUR, "transcripts": 0, "models": 0, "voices": 0}


@pytest.mark.parametrize("size", [10, 20_000_000])
async def test_damage_is_noticed(server: S3Server, store: MinioStore, tmp_path: Path, size: int) -> None:
    """Else a broken file is transcribed as if it were intact."""
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
    """Else a reader gets half of one file and half of another."""
    new = os.urandom(9_000_000)
    await store.put("media/j/a", os.urandom(9_000_000))
    receive = minio_transfer._receive
    calls = 0

    def broken_off(client: Minio, place: Place, *rest: Any, **more: Any) -> Sink:
        nonlocal calls
        calls += 1
        sink = receive(client, place, *rest, **more)
        if calls == 1:
            sink.received -= 1_000_000  # as if it had broken off
            upload(client, place, Source(io.BytesIO(new), threading.Event()), {})
        return sink

    monkeypatch.setattr(minio_transfer, "_receive", broken_off)
    assert await store.get("media/j/a") == new
    assert calls == 3


async def test_no_other_version_is_read_than_the_one_asked_for(
    server: S3Server, store: MinioStore, tmp_path: Path
) -> None:
    """Else a job gets the words of a file that was put there after it was submitted."""
    key, client = "s3://v2t-uploads/version.mp4", server.client()
    old, new = os.urandom(9_000_000), os.urandom(9_000_000)
    for data in (old, new):
        client.put_object(bucket_name="v2t-uploads", object_name="version.mp4", data=io.BytesIO(data), length=len(data))
        if data is old:
            found = await store.look(key)
            assert found
            await store.get_file(key, tmp_path / "old", version=found.version)
            assert (tmp_path / "old").read_bytes() == old
    for read in (store.look(key, found.version), store.get_file(key, tmp_path / "new", version=found.version)):
        with pytest.raises(VersionGone, match=r"version.mp4 was replaced"):
            await read
    assert not (tmp_path / "new").exists()


async def test_a_version_that_is_kept_is_read_after_it_was_replaced(
    server: S3Server, store: MinioStore, tmp_path: Path
) -> None:
    """Else keeping versions in a bucket is useless."""
    client = server.client()
    client.make_bucket(bucket_name="versions")
    client.set_bucket_versioning(bucket_name="versions", config=VersioningConfig(ENABLED))
    found = []
    for data in (b"old", b"new"):
        client.put_object(bucket_name="versions", object_name="a.mp4", data=io.BytesIO(data), length=len(data))
        found.append(await store.look("s3://versions/a.mp4"))
    assert found[0]
    await store.get_file("s3://versions/a.mp4", tmp_path / "a", version=found[0].version)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert await store.look("s3://versions/a.mp4", found[0].version) == found[0]
    assert (
        await store.look("s3://versions/a.mp4", Version(etag=found[0].version.etag)) == found[0]
    )  # as some events say
    client.remove_object(bucket_name="versions", object_name="a.mp4", version_id=found[0].version.id)
    with pytest.raises(ObjectMissing):
        await store.get_file("s3://versions/a.mp4", tmp_path / "b", version=found[0].version)


async def test_one_of_many_writers_gets_a_name(store: MinioStore) -> None:
    """Else two uploads with one stem replace each other's transcripts."""
    claims = await asyncio.gather(*(store.put_new("transcripts/t.json", str(n).encode()) for n in range(12)))
    assert sum(claims) == 1
    assert await store.get("transcripts/t.json") == str(claims.index(True)).encode()
    assert not await store.put_new("transcripts/t.json", b"later")


@pytest.mark.parametrize(
    "name", ["n" * 256, "n" * 1025, "a/../b", "./a", "..", "a\0b", "talk.srt/x.mp4"], ids=lambda name: name[:8]
)
async def test_a_name_that_no_object_can_have_is_refused_at_once(store: MinioStore, name: str) -> None:
    """Else a failed lookup is repeated for ever."""
    await store.put("transcripts/talk.srt", b"a file, and no folder")
    for attempt in (store.put_new(f"transcripts/{name}", b"x"), store.get(f"transcripts/{name}")):
        with pytest.raises((InvalidKey, ObjectMissing)) as error:
            await attempt
        assert attempt.__name__ == "get" or error.type is InvalidKey


@pytest.mark.parametrize("length", [256, 1025])
async def test_a_name_that_is_too_long_is_known_by_a_look(store: MinioStore, length: int) -> None:
    """Else an upload with such a name looks like one that the server refuses only for a while."""
    await store.put("transcripts/long/a", b"the folder is there")
    with pytest.raises(InvalidKey):
        await store.look(f"transcripts/long/{'n' * length}")


async def test_what_has_expired_is_removed_where_the_server_has_no_rules(
    server: S3Server, store: MinioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the disk of a server without lifecycle rules fills with media."""
    await store.put("media/swept/a", b"old")
    await store.put("transcripts/swept/a", b"for ever")
    assert await store.sweep("media") == 0

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=30)

    monkeypatch.setattr(minio_buckets, "datetime", Later)
    for top in ("media", "transcripts"):
        await store.sweep(top)
    is_there = await store.size("media/swept/a") is not None
    assert is_there is (server.PROGRAM == "minio")  # which does it itself
    assert await store.get("transcripts/swept/a") == b"for ever"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"MINIO_ACCESS_KEY": "nobody"}, "does not know the access key: correct MINIO_ACCESS_KEY"),
        ({"MINIO_SECRET_KEY": "not-the-secret"}, "rejects the secret key: correct MINIO_SECRET_KEY"),
        ({"MINIO_SECURE": "true"}, "check MINIO_SECURE"),
    ],
)
async def test_wrong_settings_are_named(server: S3Server, wrong: dict[str, str], says: str) -> None:
    """Else a mistyped key shows the user a page of XML."""
    store = MinioStore(Settings.from_environment({**server.environment, **wrong}), timeout=4)
    for attempt in (store.create(media_max_age=HOUR), store.get("media/j/a"), store.size("media/j/a")):
        with pytest.raises(StoreError, match=says) as error:
            await attempt
        assert "not-the-secret" not in str(error.value)


async def test_nobody_at_the_endpoint(tmp_path: Path) -> None:
    """Else a user who forgot to start MinIO waits and does not know why."""
    environment = {"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}
    port = free_ports()
    settings = Settings.from_environment({"MINIO_ENDPOINT": f"127.0.0.1:{port}", **environment})
    with pytest.raises(StoreAway, match=rf"no MinIO at 127.0.0.1:{port} answers: start it, or correct MINIO_ENDPOINT"):
        await MinioStore(settings, timeout=0.5).put("media/j/a", b"x")
    async with broker(tmp_path / "nats") as (other, _):
        settings = Settings.from_environment({"MINIO_ENDPOINT": f"127.0.0.1:{other.port}", **environment})
        with pytest.raises(StoreError, match="MINIO_ENDPOINT"):
            await MinioStore(settings, timeout=5).put("media/j/a", b"x")


async def test_many_calls_lose_patience_together() -> None:
    """Else in an outage each upload waits for all earlier ones, until its stage gives it up as too slow."""
    environment = {"MINIO_ENDPOINT": f"127.0.0.1:{free_ports()}", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}
    store = MinioStore(Settings.from_environment(environment), timeout=1)
    for _ in range(2):  # also when it was away before
        begun = time.monotonic()
        looks = await asyncio.gather(*(store.look(f"media/j/{n}") for n in range(256)), return_exceptions=True)
        assert {type(each) for each in looks} == {StoreAway}
        assert time.monotonic() - begun < 8  # one after another they take 16 s and more


async def test_a_missing_bucket_is_named(server: S3Server) -> None:
    """Else a user who forgot to set it up believes that all media is lost."""
    store = MinioStore(server.settings(MINIO_BUCKET_PREFIX="nowhere-"), timeout=30)
    for attempt in (store.put("media/j/a", b"x"), store.get("media/j/a"), store.size("media/j/a")):
        with pytest.raises(StoreError, match=r"no bucket nowhere-media: .* v2t topology apply"):
            await attempt


async def test_a_clock_that_is_wrong_is_named(
    server: S3Server, store: MinioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a machine whose clock has stopped fails with a confusing error."""
    monkeypatch.setattr(minio.api.time, "utcnow", lambda: datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(StoreError, match=r"clock and that of MinIO at .* more than 15 minutes apart"):
        await store.put("media/j/a", b"x")


async def test_a_full_server_gives_a_sentence(tmp_path: Path) -> None:
    """Else a full disk gives a confusing error, or damages what was stored before."""
    with small_disk(tmp_path / "small", "64m") as disk:
        server = s3_server(disk)
        server.start()
        try:
            store = MinioStore(server.settings(), timeout=30)
            await store.create(media_max_age=HOUR)
            await store.put("media/j/a", b"small")
            with pytest.raises(
                StoreError, match=r"could not store media/j/a: MinIO at .* no room left.*: free space there"
            ):
                await store.put("media/j/a", bytes(100_000_000))
            assert await store.get("media/j/a") == b"small"
        finally:
            server.stop()


async def test_a_process_with_another_store_gets_an_error(server: S3Server, tmp_path: Path) -> None:
    """Else it looks for media in the wrong place and stores transcripts where nobody looks."""
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
