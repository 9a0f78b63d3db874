"""A bucket that starts jobs: a real S3 server that publishes to a real nats-server, real stages, real words."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Tags
from minio.error import S3Error
from minio.versioningconfig import VersioningConfig

from schemas.events import Submitted
from schemas.message import decode_as, encode
from schemas.notification import Notification, Upload
from schemas.options import Options
from schemas.requests import SubmitRequest
from tests.harness import DATA, Node, S3Server, Server, VersityServer, ended, node, reference, s3_server
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.submission import submit
from v2t_stream.jobs.upload_sync import UploadSync
from v2t_stream.runtime.set_up import set_up
from v2t_stream.runtime.stores import announce_uploads
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.topology.ids import inbox_epoch, job_id, upload_job_id
from v2t_stream.topology.streams import DEAD, INBOX, JOBS
from v2t_stream.topology.subjects import BUCKET_SUBJECT

CLIP = "5s.flac"
UPLOADS = "v2t-uploads"


class Place(NamedTuple):
    nats: Server
    minio: S3Server
    node: Node

    @property
    def client(self) -> Minio:
        return self.minio.client()


async def prepare(nats: Server, minio: S3Server) -> None:
    async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
        await set_up(connection, minio.settings())
        if not minio.tells:
            return
        async with asyncio.timeout(PATIENCE):  # MinIO answers before it knows whom it can tell
            while await announce_uploads(minio.settings()):
                await asyncio.sleep(0.1)


@contextlib.contextmanager
def servers(folder: Path, *, tells: bool = True) -> Iterator[tuple[Server, S3Server]]:
    nats = Server(folder / "nats")
    nats.start()
    try:
        minio = s3_server(folder / "minio", nats.url if tells else "")
        minio.start()
        try:
            yield nats, minio
        finally:
            minio.stop()
    finally:
        nats.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running pipeline, for tests that break nothing."""
    folder = tmp_path_factory.mktemp("bucket")
    with servers(folder) as (nats, minio):
        asyncio.run(prepare(nats, minio))
        with node(nats.url, folder / "home", **minio.environment, V2T_BESIDE_UPLOAD="true") as machine:
            yield Place(nats, minio, machine)


@pytest.fixture
async def connection(place: Place) -> AsyncIterator[Connection]:
    async with await connect(place.nats.url, name="test", patience=PATIENCE) as connection:
        yield connection


def put(client: Minio, key: str, data: bytes | None = None, **more: object) -> Upload:
    """Upload as any program with MinIO's SDK does."""
    data = (DATA / CLIP).read_bytes() if data is None else data
    result = client.put_object(
        bucket_name=UPLOADS,
        object_name=key,
        data=io.BytesIO(data),
        length=len(data),
        **more,  # type: ignore[arg-type]
    )
    return Upload(bucket=UPLOADS, key=key, etag=(result.etag or "").strip('"'), version=result.version_id or "")


def read(client: Minio, bucket: str, key: str) -> str:
    response = client.get_object(bucket_name=bucket, object_name=key)
    try:
        return response.data.decode()
    finally:
        response.close()
        response.release_conn()


async def appears(client: Minio, bucket: str, key: str) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(S3Error):
                return read(client, bucket, key)
            await asyncio.sleep(0.1)


async def jobs(connection: Connection) -> dict[str, Job]:
    """The existing jobs."""
    return fold_all([stored async for stored in connection.watch(JOBS, "v2t.job.*.*", live=False) if stored])


async def submitted(connection: Connection, uploads: list[Upload]) -> list[Submitted]:
    """The facts of these uploads' jobs, once all exist."""
    async with asyncio.timeout(PATIENCE):
        while True:
            states = await jobs(connection)
            found = [state.submitted for up in uploads if (state := states.get(upload_job_id(up))) and state.submitted]
            if len(found) == len(uploads):
                return found
            await asyncio.sleep(0.05)


def words(srt: str) -> str:
    return " ".join(line for line in srt.splitlines() if line and not line.isdigit() and "-->" not in line)


@pytest.mark.parametrize(
    "name", ["talk", "a b+c 100%", "a%20b", "会議/議事録", "😀 über", "x'\"&=#;!", "dots.in.it"], ids=str
)
async def test_an_upload_becomes_a_transcript_under_the_same_path(place: Place, name: str) -> None:
    """Else a file dropped into the bucket is lost, or nobody finds its transcript."""
    put(place.client, f"talks/{name}.flac")
    srt = await appears(place.client, "v2t-transcripts", f"talks/{name}.srt")
    assert word_error_rate(reference(CLIP), words(srt)) < 0.1
    # Beside it too, as this fleet is set so, which starts nothing.
    assert await appears(place.client, UPLOADS, f"talks/{name}.srt") == srt


async def test_what_we_store_beside_an_upload_starts_nothing(place: Place, connection: Connection) -> None:
    """Else every transcript becomes a job, for ever."""
    upload = put(place.client, "quiet/talk.flac")
    await ended(connection, upload_job_id(upload))
    last = put(place.client, "quiet/after.flac")  # what MinIO announces later is taken later
    await submitted(connection, [last])
    assert not [job for job in (await jobs(connection)).values() if job.title.endswith((".srt", ".json", ".txt"))]


async def test_uploads_of_one_stem_at_once_keep_a_transcript_each(place: Place, connection: Connection) -> None:
    """Else the transcript of talk.wav silently replaces that of talk.flac."""
    names = [f"twins/talk.{suffix}" for suffix in ("flac", "wav", "mkv", "mp4")]
    uploads = await asyncio.gather(*(asyncio.to_thread(put, place.client, name) for name in names))
    for upload in uploads:
        await ended(connection, upload_job_id(upload))
    listed = place.client.list_objects(bucket_name="v2t-transcripts", prefix="twins/", recursive=True)
    kept = [entry.object_name or "" for entry in listed if (entry.object_name or "").endswith(".json")]
    owners = {json.loads(read(place.client, "v2t-transcripts", name))["job"] for name in kept}
    assert owners == {upload_job_id(upload) for upload in uploads}
    assert "twins/talk.json" in kept


async def test_a_path_below_another_transcripts_name_stops_no_job(place: Place, connection: Connection) -> None:
    """Else a job hangs at its very end, as a file cannot be a folder too."""
    for name in ("below/talk.srt/part.flac", "below/talk.flac"):
        job = await ended(connection, upload_job_id(put(place.client, name)))
        assert job.state == "completed"


async def test_a_job_has_the_words_of_the_version_that_was_announced(place: Place, connection: Connection) -> None:
    """Else replacing a file at once gives every job the words of the last version."""
    clip = (DATA / CLIP).read_bytes()
    uploads = [put(place.client, "quick/talk.flac", clip + b"\0" * n) for n in range(8)]
    *earlier, last = [await ended(connection, upload_job_id(upload)) for upload in uploads]
    assert last.state == "completed"
    for job in earlier:
        if job.state == "failed":  # else it was quicker than its successor
            assert "quick/talk.flac was replaced by a later upload" in job.reason
    assert json.loads(read(place.client, "v2t-transcripts", "quick/talk.json"))["job"] == last.id


async def test_a_file_that_is_put_back_gets_its_path_back(place: Place, connection: Connection) -> None:
    """Else A, B and A again end with the words of B under the name of A."""
    first, second = (DATA / CLIP).read_bytes(), (DATA / "20s-1.flac").read_bytes()
    upload = put(place.client, "back/talk.flac", first)
    for data in (first, second):
        await ended(connection, upload_job_id(put(place.client, "back/talk.flac", data)))
    put(place.client, "back/talk.flac", first)
    async with asyncio.timeout(PATIENCE):
        while json.loads(read(place.client, "v2t-transcripts", "back/talk.json"))["job"] != upload_job_id(upload):
            await asyncio.sleep(0.1)


async def test_what_was_replaced_and_came_back_before_it_was_read_is_transcribed(
    place: Place, connection: Connection
) -> None:
    """Else the file is never transcribed, and its job says that it was replaced."""
    upload = Upload(bucket=UPLOADS, key="again/talk.flac", etag=put(place.client, "again/first.flac").etag)
    put(place.client, "again/talk.flac", b"another")
    await connection.client.jetstream().publish(BUCKET_SUBJECT, encode(Notification.of(upload)), timeout=PATIENCE)
    job = await ended(connection, upload_job_id(upload))
    assert "was replaced" in job.reason
    assert put(place.client, "again/talk.flac") == upload
    assert (await ended(connection, upload_job_id(upload, 1))).state == "completed"


async def test_what_a_user_put_beside_the_upload_stays(place: Place, connection: Connection) -> None:
    """Else hand-made subtitles are overwritten."""
    await submitted(connection, [put(place.client, "mine/talk.srt", b"1\n00:00:00,000 --> 00:00:01,000\nmine\n")])
    job = await ended(connection, upload_job_id(put(place.client, "mine/talk.flac")))
    assert job.state == "completed"
    assert "mine" in read(place.client, UPLOADS, "mine/talk.srt")
    assert "mine" not in read(place.client, "v2t-transcripts", "mine/talk.srt")


async def test_the_uploader_says_how(place: Place, connection: Connection) -> None:
    """Else an upload cannot ask for a language or a model."""
    client = place.client
    tags = Tags.new_object_tags()
    tags["language"] = "en"
    tags["task"] = "translate"
    put(client, "asked/all.flac.json", b'{"title": "From the sidecar", "word_timestamps": true, "language": "de"}')
    uploads = [
        put(
            client,
            "asked/metadata.flac",
            metadata={"language": "en", "Beam-Size": "3", "Word-Timestamps": "true", "other": "x"},
        ),
        put(client, "asked/tags.flac", tags=tags),
        put(client, "asked/all.flac", tags=tags, metadata={"language": "fr"}),
    ]
    metadata, tagged, both = await submitted(connection, uploads)
    assert metadata.options == Options(language="en", beam_size=3, word_timestamps=True)
    assert (tagged.options.language, tagged.options.task) == ("en", "translate")
    assert (both.options.language, both.options.task, both.options.word_timestamps) == ("fr", "translate", True)
    assert (metadata.title, both.title) == ("asked/metadata.flac", "From the sidecar")
    assert "asked/all.flac.json" not in {job.title for job in (await jobs(connection)).values()}


async def test_what_cannot_be_done_is_a_failed_job_that_says_why(place: Place, connection: Connection) -> None:
    """Else an upload vanishes without a word."""
    client = place.client
    says = {
        put(client, "bad/notes.txt", b"no media"): "s3://v2t-uploads/bad/notes.txt is neither video nor audio",
        put(client, "bad/notes.mp4", b"no media"): "s3://v2t-uploads/bad/notes.mp4",
        put(client, "bad/empty.mp4", b""): "s3://v2t-uploads/bad/empty.mp4 is an empty file",
        put(client, "bad/klingon.flac", metadata={"language": "tlh"}): "unknown language 'tlh'",
        put(client, "bad/words.flac", metadata={"word-timestamps": "so"}): "word_timestamps is not valid",
    }
    for upload, reason in says.items():
        job = await ended(connection, upload_job_id(upload))
        assert job.state == "failed"
        assert reason in job.reason
    await submitted(connection, list(says))
    listed = await jobs(connection)
    for upload in says:
        job = listed[upload_job_id(upload)]
        assert (job.state, job.title, job.source) == ("failed", upload.key, upload.url)


async def test_a_presigned_link_is_read_and_its_signature_shown_nowhere(place: Place, connection: Connection) -> None:
    """Else everybody who sees the list of jobs can read the object."""
    await submitted(connection, [put(place.client, "signed.bin")])  # of no known suffix, and not media/…
    link = place.client.presigned_get_object(bucket_name=UPLOADS, object_name="signed.bin")
    environment = {**os.environ, **place.minio.environment, "NATS_URL": place.nats.url}
    command = [sys.executable, "-m", "v2t_stream", "etl", "--url", link, "--wait"]
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert word_error_rate(reference(CLIP), done.stdout) < 0.1, done.stderr
    (job,) = (job for job in (await jobs(connection)).values() if job.source.startswith("http"))
    assert job.submitted
    transcript = read(place.client, "v2t-transcripts", f"{job.id}/transcript.json")
    for shown in (job.source, job.title, job.submitted.title, transcript, done.stdout, done.stderr):
        assert "Signature" not in shown


async def test_an_object_of_any_bucket_is_read_with_the_credentials_here(place: Place) -> None:
    """Else files that are already in S3 must be downloaded and uploaded by hand."""
    place.client.make_bucket(bucket_name="elsewhere")
    place.client.fput_object(bucket_name="elsewhere", object_name="a talk.flac", file_path=str(DATA / CLIP))
    environment = {**os.environ, **place.minio.environment, "NATS_URL": place.nats.url}
    for name, code in (("a talk.flac", 0), ("none.flac", 1)):
        command = [sys.executable, "-m", "v2t_stream", "etl", "--url", f"s3://elsewhere/{name}", "--wait"]
        done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        if code:
            assert "s3://elsewhere/none.flac is not in the bucket, or no longer" in done.stderr
        else:
            assert word_error_rate(reference(CLIP), done.stdout) < 0.1


async def test_uploads_without_an_event_are_taken_up_once(tmp_path: Path) -> None:
    """Else files uploaded before the set-up are never transcribed, or each look transcribes all of them again."""
    with servers(tmp_path, tells=False) as (nats, minio):
        await prepare(nats, minio)
        environment = {**os.environ, **minio.environment, "NATS_URL": nats.url}

        async def sync() -> str:
            command = [sys.executable, "-m", "v2t_stream", "bucket", "sync"]
            done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
            return done.stdout + done.stderr

        client = minio.client()
        uploads = [put(client, "late/a+b 0%.flac", metadata={"language": "en"})]
        assert (await sync()).startswith("submitted 1 uploads, 0 already had jobs")
        uploads += [put(client, f"late/a+b {n}%.flac", metadata={"language": "en"}) for n in range(1, 4)]
        async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
            with node(nats.url, tmp_path / "home", "intake", **minio.environment):  # which looks by itself
                facts = await submitted(connection, uploads)
            assert {fact.options.language for fact in facts} == {"en"}
            assert (await sync()).startswith("submitted 0 uploads, 4 already had jobs")
            assert len(await jobs(connection)) == 4


async def test_a_name_that_a_list_cannot_show_becomes_no_job_of_another_name(tmp_path: Path) -> None:
    """Else each look at the bucket makes a failed job of a file that is not there."""
    with servers(tmp_path, tells=False) as (nats, minio):
        await prepare(nats, minio)
        put(minio.client(), "control\x01.flac")
        put(minio.client(), "really\ufffd.flac")
        async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
            sync = UploadSync(connection, MinioStore(minio.settings()), minio.settings())
            assert await sync.run() == (1, 0)
            told = await connection.last(INBOX, BUCKET_SUBJECT)
            assert told
            assert [one.key for one in decode_as(Notification, told.data).created()] == ["really\ufffd.flac"]


async def test_a_bucket_that_keeps_versions_has_one_job_for_each(tmp_path: Path) -> None:
    """Else a version that is listed differently from its announcement is done twice, or a replaced one is lost."""
    with servers(tmp_path) as (nats, minio):
        await prepare(nats, minio)
        client = minio.client()
        client.set_bucket_versioning(bucket_name=UPLOADS, config=VersioningConfig(ENABLED))
        uploads = [put(client, "kept.flac", b"x" * n) for n in (1, 2, 3)]
        assert all(upload.version for upload in uploads)
        with node(nats.url, tmp_path / "home", "intake", **minio.environment):
            async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
                facts = await submitted(connection, uploads)
                assert [fact.version for fact in facts] == [upload.exactly for upload in uploads]
                put(client, "gone.flac")
                client.remove_object(bucket_name=UPLOADS, object_name="gone.flac")
                await submitted(connection, [put(client, "last.flac")])
                store = MinioStore(minio.settings())
                for _ in range(2):
                    assert await UploadSync(connection, store, minio.settings()).run() == (0, 2)
                assert len([job for job in (await jobs(connection)).values() if job.title == "kept.flac"]) == 3


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A pipeline with only intake, to see what happens to events."""
    folder = tmp_path_factory.mktemp("intake")
    with servers(folder) as (nats, minio):
        asyncio.run(prepare(nats, minio))
        environment = {**minio.environment, "V2T_UPLOAD_PREFIX": "in/", "V2T_UPLOAD_SUFFIXES": ".MP4, .flac"}
        with node(nats.url, folder / "home", "intake", **environment) as machine:
            yield Place(nats, minio, machine)


async def test_the_same_object_twice_is_one_job(intake: Place) -> None:
    """Else whoever uploads a folder again pays for everything twice."""
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        uploads = [put(intake.client, "in/same.flac") for _ in range(2)]
        other = put(intake.client, "in/same.flac", b"another version")
        await submitted(connection, [*uploads, other])
        same = [job for job in (await jobs(connection)).values() if job.title == "in/same.flac"]
        assert len(same) == 2
        # MinIO sends an event again that it is not sure of, maybe when the broker has forgotten the first.
        await connection.api(f"STREAM.PURGE.{INBOX}")
        await connection.client.jetstream().publish(
            BUCKET_SUBJECT, encode(Notification.of(uploads[0])), timeout=PATIENCE
        )
        await submitted(connection, [put(intake.client, "in/after.flac")])
        assert len([job for job in (await jobs(connection)).values() if job.title == "in/same.flac"]) == 2


async def test_fifty_objects_at_once_are_fifty_jobs(intake: Place) -> None:
    """Else some files of a folder dropped into the bucket are lost, or done twice."""
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        uploads = await asyncio.gather(
            *(asyncio.to_thread(put, intake.client, f"in/fifty/{n}.flac", b"x" * n) for n in range(1, 51))
        )
        await submitted(connection, uploads)
        titles = [job.title for job in (await jobs(connection)).values() if job.title.startswith("in/fifty/")]
        assert len(titles) == len(set(titles)) == 50


async def test_only_what_is_wanted_starts_a_job(intake: Place) -> None:
    """Else other files in a shared bucket are transcribed too."""
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        for key in ("out/a.mp4", "in/a.mp3", "in/folder/", "in/a.mp4.json"):
            put(intake.client, key, b"")
        gone = put(intake.client, "in/gone.mp4")
        intake.client.remove_object(bucket_name=UPLOADS, object_name="in/gone.mp4")
        await submitted(connection, [gone, put(intake.client, "in/wanted.Mp4")])
        titles = {job.title for job in (await jobs(connection)).values()}
        assert not titles & {"out/a.mp4", "in/a.mp3", "in/folder/", "in/a.mp4.json"}
        assert {"in/wanted.Mp4", "in/gone.mp4"} <= titles


async def test_a_notification_of_several_records_and_one_that_cannot_be_read(intake: Place) -> None:
    """Else uploads that a server bundles are lost, or intake hangs on a stranger's message."""
    uploads = [Upload(bucket=UPLOADS, key=f"in/bundle {n}.flac", etag=str(n)) for n in range(3)]
    records = tuple(record for upload in uploads for record in Notification.of(upload).records)
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        ack = await connection.client.jetstream().publish(BUCKET_SUBJECT, b"{", timeout=PATIENCE)
        await connection.client.jetstream().publish(BUCKET_SUBJECT, encode(Notification(records)), timeout=PATIENCE)
        await submitted(connection, uploads)
        job = await ended(connection, job_id(await inbox_epoch(connection), ack.seq))
        assert "a bucket's notification cannot be read" in job.reason


async def test_what_is_uploaded_while_the_broker_is_down_is_taken_when_it_is_up(tmp_path: Path) -> None:
    """Else a restart of the broker loses uploads."""
    with servers(tmp_path) as (nats, minio):
        await prepare(nats, minio)
        nats.stop()
        early = put(minio.client(), "early.flac")
        nats.start()
        with node(nats.url, tmp_path / "home", "intake", **minio.environment):
            async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
                await submitted(connection, [early])


async def test_minio_is_killed_in_the_middle_and_an_object_is_gone(tmp_path: Path) -> None:
    """Else a restart of the store fails its jobs, or an upload that was taken back hangs."""
    with servers(tmp_path) as (nats, minio):
        await prepare(nats, minio)
        gone = put(minio.client(), "gone.flac")
        minio.client().remove_object(bucket_name=UPLOADS, object_name="gone.flac")
        async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
            with node(nats.url, tmp_path / "home", **minio.environment) as machine:
                upload = put(minio.client(), "talk.ogg", (DATA / "3min.ogg").read_bytes())
                async for stored in connection.watch(JOBS, f"v2t.job.{upload_job_id(upload)}.chunk.*"):
                    if stored:
                        break
                minio.kill()
                await asyncio.to_thread(minio.revive)
                job = await ended(connection, upload_job_id(upload))
                assert (job.state, job.gaps) == ("completed", []), machine.log("transcribe")
                srt = read(minio.client(), "v2t-transcripts", "talk.srt")
                assert word_error_rate(reference("3min.ogg"), words(srt)) < 0.1
                job = await ended(connection, upload_job_id(gone))
                assert "s3://v2t-uploads/gone.flac is not in the bucket, or no longer" in job.reason


async def test_an_outage_of_the_store_is_no_jobs_failure_and_no_links_wait(tmp_path: Path) -> None:
    """Else a restart of the store fails current work, and submitted links wait behind uploads."""
    with servers(tmp_path) as (nats, minio):
        await prepare(nats, minio)
        async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
            upload = put(minio.client(), "early.flac")
            minio.kill()
            late = [Upload(bucket=UPLOADS, key=f"late/{n}.flac", etag="e") for n in range(300)]
            for each in late:
                await connection.client.jetstream().publish(
                    BUCKET_SUBJECT, encode(Notification.of(each)), timeout=PATIENCE
                )
            with node(nats.url, tmp_path / "home", **minio.environment):
                link, _ = await submit(connection, SubmitRequest(url="http://127.0.0.1:1/talk.mp4"))
                begun = time.monotonic()
                async with asyncio.timeout(PATIENCE):
                    while not await connection.any_of(JOBS, [Submitted.SUBJECT.format(job=link)]):
                        await asyncio.sleep(0.05)
                assert time.monotonic() - begun < 15  # a look at the store waits for it 30 s
                await asyncio.to_thread(minio.revive)
                assert (await ended(connection, upload_job_id(upload))).state == "completed"
                await submitted(connection, late)
                delivered = (await connection.api(f"CONSUMER.INFO.{INBOX}.intake"))["delivered"]
                assert delivered["consumer_seq"] == delivered["stream_seq"]  # each once
                for each in late:
                    job = await ended(connection, upload_job_id(each))
                    assert "is not in the bucket, or no longer" in job.reason


@pytest.mark.parametrize(
    "key", ["../a.flac", "a/../b.flac", "./a.flac", "x" * 5000 + ".flac", "x" * 300 + ".flac"], ids=lambda key: key[:9]
)
async def test_a_name_that_cannot_be_looked_up_is_rejected_once(intake: Place, key: str) -> None:
    """Else it is tried for minutes, fails under an id that nobody knows, and again with every look at the bucket."""
    upload = Upload(bucket=UPLOADS, key=f"in/{key}", etag="e")
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        after = put(intake.client, "in/after.flac")  # so that the folder is there
        for each in (upload, upload, after):
            await connection.client.jetstream().publish(BUCKET_SUBJECT, encode(Notification.of(each)), timeout=PATIENCE)
        await submitted(connection, [upload, after])
        job = (await jobs(connection))[upload_job_id(upload)]
        assert job.state == "failed"
        assert "upload it under another" in job.reason
        assert not [letter async for letter in connection.watch(DEAD, "v2t.dead.intake.up-*", live=False) if letter]


class _Guarded(VersityServer):
    """A server with users of different rights."""

    def _arguments(self) -> list[str]:
        return ["--iam-dir", str(self.folder / "queue"), *super()._arguments()]

    def reader(self) -> dict[str, str]:
        """The variables of a process that may read all uploads except those under secret/."""
        who = {"MINIO_ACCESS_KEY": "reader", "MINIO_SECRET_KEY": "of-little-trust"}
        command = [self._path, "admin", "--access", self.access_key, "--secret", self.secret_key, "--endpoint-url"]
        user = ["--access", who["MINIO_ACCESS_KEY"], "--secret", who["MINIO_SECRET_KEY"], "--role", "user"]
        subprocess.run([*command, f"http://{self.endpoint}", "create-user", *user], check=True, capture_output=True)
        everything = [f"arn:aws:s3:::{UPLOADS}", f"arn:aws:s3:::{UPLOADS}/*"]
        rule = {"Effect": "Allow", "Principal": ["reader"], "Action": "s3:*", "Resource": everything}
        but = {**rule, "Effect": "Deny", "Resource": [f"arn:aws:s3:::{UPLOADS}/secret/*"]}
        policy = {"Version": "2012-10-17", "Statement": [rule, but]}
        self.client().set_bucket_policy(bucket_name=UPLOADS, policy=json.dumps(policy))
        return {**self.environment, **who}


async def test_what_may_not_be_read_fails_at_once_and_once(tmp_path: Path) -> None:
    """Else it is tried for minutes, fails under an id that nobody knows, and again with every look at the bucket."""
    if s3_server(tmp_path).PROGRAM != VersityServer.PROGRAM:
        pytest.skip("users are made by the Versity gateway's own command")
    nats = Server(tmp_path / "nats")
    nats.start()
    minio = _Guarded(tmp_path / "minio", nats.url)
    minio.start()
    try:
        await prepare(nats, minio)
        environment = minio.reader()
        secret, read = put(minio.client(), "secret/talk.flac"), put(minio.client(), "talk.flac")
        async with await connect(nats.url, name="test", patience=PATIENCE) as connection:
            with node(nats.url, tmp_path / "home", "intake", **environment) as machine:
                await submitted(connection, [secret, read])
                job = (await jobs(connection))[upload_job_id(secret)]
                assert job.state == "failed"
                assert (
                    "does not allow this to the user of MINIO_ACCESS_KEY: allow it there, or use another user"
                    in job.reason
                )
                assert (await jobs(connection))[upload_job_id(read)].state == "queued"
                sync = UploadSync(connection, MinioStore(minio.settings()), minio.settings())
                assert await sync.run() == (0, 2)
                # The bucket itself is gone when the message of an upload comes.
                for upload in (secret, read):
                    minio.client().remove_object(bucket_name=UPLOADS, object_name=upload.key)
                minio.client().remove_bucket(bucket_name=UPLOADS)
                late = Upload(bucket=UPLOADS, key="late.flac", etag="e")
                await connection.client.jetstream().publish(
                    BUCKET_SUBJECT, encode(Notification.of(late)), timeout=PATIENCE
                )
                await submitted(connection, [late])
                assert f"has no bucket {UPLOADS}" in (await jobs(connection))[upload_job_id(late)].reason
                assert "again in" not in machine.log("intake")  # it was not tried twice
            assert not [letter async for letter in connection.watch(DEAD, "v2t.dead.>", live=False) if letter]
    finally:
        minio.stop()
        nats.stop()


@pytest.mark.parametrize("length", [251, 255])
async def test_a_long_name_is_no_hindrance(intake: Place, length: int) -> None:
    """Else an upload fails because its options file, which does not exist, would have too long a name."""
    async with await connect(intake.nats.url, name="test", patience=PATIENCE) as connection:
        upload = put(intake.client, "in/" + "n" * (length - 5) + ".flac")
        await submitted(connection, [upload])
        assert (await jobs(connection))[upload_job_id(upload)].state == "queued"


async def test_the_commands_say_what_is_missing(tmp_path: Path) -> None:
    """Else a user who has not set up MinIO, or its announcements, waits for transcripts that never come."""
    minio = s3_server(tmp_path / "minio")  # without notifications
    nats = Server(tmp_path / "nats")
    nats.start()
    minio.start()

    async def v2t(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NATS_URL": nats.url, **environment}
        command = [sys.executable, "-m", "v2t_stream", *arguments]
        return await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)

    try:
        for command in ("sync", "init"):
            done = await v2t("bucket", command)
            assert (done.returncode, "MINIO_ENDPOINT is not set" in done.stderr) == (1, True), done.stderr
        done = await v2t("topology", "apply")
        assert (done.returncode, "files are kept in NATS" in done.stdout) == (0, True), done.stderr
        done = await v2t("job", "list", **minio.environment)
        assert (done.returncode, "v2t topology apply --change-store" in done.stderr) == (1, True), done.stderr
        for command in (("topology", "apply", "--change-store"), ("bucket", "init")):
            done = await v2t(*command, **minio.environment)
            told = done.stdout + done.stderr
            if minio.PROGRAM == "minio":
                assert "MINIO_NOTIFY_NATS_ENABLE_V2T=on" in told
            else:
                assert "at once if the server is set up to announce uploads to NATS, otherwise within 5 minutes" in told
        done = await v2t("topology", "show", **minio.environment)
        assert "files are kept in MinIO (v2t-*)" in done.stdout, done.stderr
        assert "intake" in done.stdout
        done = await v2t("job", "list")
        assert (done.returncode, "keep their files in MinIO" in done.stderr) == (1, True), done.stderr
    finally:
        minio.stop()
        nats.stop()
