"""The transcripts of uploads under the uploads' paths, in any order of ending and with any names."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Completed, Corrected, Failed, Submitted
from schemas.notification import Upload
from schemas.objects import Version
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.builders import completed, failed, submitted, transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import InvalidKey, ObjectMissing, Reject, Retry
from v2t_stream.jobs import copies
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import check
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import BucketStore, Found
from v2t_stream.topology.ids import upload_job_id

SETTINGS = Settings(minio_endpoint="h:1")
ROOT = "s3://v2t-uploads/"


class Kept:
    """A store on an S3 server that keeps objects as files, so that none can be a folder too."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.sleep(0)
        self._set(key, data)

    def _set(self, key: str, data: bytes) -> None:
        parents = {key[:at] for at in range(len(key)) if key[at] == "/"}
        if parents & self.objects.keys() or any(there.startswith(f"{key}/") for there in self.objects):
            raise InvalidKey(key)
        self.objects[key] = data

    async def put_new(self, key: str, data: bytes) -> bool:
        await asyncio.sleep(0)
        if key in self.objects:
            return False
        self._set(key, data)
        return True

    async def get(self, key: str) -> bytes:
        await asyncio.sleep(0)
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    async def look(self, key: str, version: Version | None = None) -> Found | None:
        await asyncio.sleep(0)
        data = self.objects.get(key)
        return None if data is None else Found(len(data), Version(etag=data.decode()), {})

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.objects.pop(key, None)

    def at(self, key: str) -> str:
        """The job of whose transcript the object is."""
        return msgspec.json.decode(self.objects[key], type=Transcript).job


class Facts:
    """The facts of jobs, as a connection tells them."""

    def __init__(self) -> None:
        self.facts: dict[str, bytes] = {}

    def add(self, *facts: Submitted | Completed | Failed) -> None:
        self.facts |= {fact.subject: msgspec.json.encode(fact) for fact in facts}

    async def any_of(self, _: str, subjects: list[str]) -> bool:
        return any(subject in self.facts for subject in subjects)

    async def watch(self, _: str, *patterns: str, live: bool) -> AsyncGenerator[Stored | None]:
        assert not live
        for n, (subject, data) in enumerate(self.facts.items(), 1):
            if any(_fits(subject, pattern) for pattern in patterns):
                yield Stored(subject, data, n, float(n))
        yield None


def _fits(subject: str, pattern: str) -> bool:
    """As the server sees it, for patterns without a tail."""
    tokens, wanted = subject.split("."), pattern.split(".")
    return len(tokens) == len(wanted) and all(want in ("*", token) for token, want in zip(tokens, wanted, strict=True))


class House:
    def __init__(self) -> None:
        self.store = Kept()
        self.facts = Facts()

    def upload(self, key: str, etag: str) -> Upload:
        self.store.objects[ROOT + key] = etag.encode()
        upload = Upload(bucket="v2t-uploads", key=key, etag=etag)
        self.facts.add(Submitted(job=upload_job_id(upload), title=key))
        return upload

    async def finish(self, upload: Upload) -> str:
        """As aggregate does: the transcript, its copies, the fact; the job's id."""
        job = upload_job_id(upload)
        words = transcript(job=job, source=upload.url)
        self.store.objects[f"transcripts/{job}/transcript.json"] = msgspec.json.encode(words)
        await copies.store_copies(
            cast("Connection", self.facts), cast("BucketStore", self.store), SETTINGS, words, upload.exactly
        )
        self.facts.add(completed(job))
        return job


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_path_belongs_to_the_latest_upload_whichever_job_ends_last(order: tuple[int, ...]) -> None:
    """Else a slow job of an old file replaces the transcript of the new one."""
    house = House()
    uploads = [house.upload("talk.mp4", etag) for etag in "abc"]
    for n in order:
        await house.finish(uploads[n])
    assert house.store.at("transcripts/talk.json") == upload_job_id(uploads[2])


async def test_a_corrected_transcript_is_copied_to_the_path_of_its_upload_and_stays_there() -> None:
    """Else the subtitles beside a video have the wrong name that somebody has corrected."""
    house = House()
    upload = house.upload("talk.mp4", "a")
    job = await house.finish(upload)
    name = f"transcripts/{job}/corrections/x/transcript"
    corrected = transcript(job=job, source=upload.url, title="corrected")
    house.store.objects[f"{name}.json"] = msgspec.json.encode(corrected)
    house.facts.add(Corrected(job=job, transcript=name, of=f"transcripts/{job}/transcript", by="ann"))
    connection, store = cast("Connection", house.facts), cast("BucketStore", house.store)
    await copies.store_copies(connection, store, SETTINGS, corrected, upload.exactly)
    assert msgspec.json.decode(house.store.objects["transcripts/talk.json"])["title"] == "corrected"
    del house.store.objects["transcripts/talk.json"]
    await copies.restore_copies(connection, store, SETTINGS, upload)  # it was announced again
    assert msgspec.json.decode(house.store.objects["transcripts/talk.json"])["title"] == "corrected"


async def test_a_removed_job_takes_its_copies_along_and_nobody_else_s() -> None:
    """Else what was removed for good is still in the bucket; or the transcript of a newer upload goes with it."""
    house = House()
    uploads = [house.upload(key, etag) for key, etag in (("talk.mp4", "a"), ("talk.mp4", "b"), ("other.mp4", "c"))]
    jobs = [Job(await house.finish(upload)) for upload in uploads]
    for job, upload in zip(jobs, uploads, strict=True):
        job.submitted = submitted(job.id, url=upload.url)
    store = cast("BucketStore", house.store)
    await copies.remove_copies(store, SETTINGS, jobs[0])  # of the older version
    assert house.store.at("transcripts/talk.json") == jobs[1].id
    await copies.remove_copies(store, SETTINGS, jobs[1])
    assert not [key for key in house.store.objects if key.startswith("transcripts/talk.")]
    assert house.store.at("transcripts/other.json") == jobs[2].id


async def test_the_path_is_the_latest_uploads_also_of_those_that_end_together() -> None:
    """Else two jobs that end at the same moment leave a mixture, or the older transcript."""
    house = House()
    uploads = [house.upload("talk.mp4", etag) for etag in "abcd"]
    jobs = await asyncio.gather(*map(house.finish, uploads))
    assert house.store.at("transcripts/talk.json") == jobs[-1]


async def test_copies_that_two_stored_at_once_are_not_left_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the path has the new file's words in one format and the old one's in another."""
    house = House()
    first = house.upload("talk.mp4", "a")
    put = house.store.put

    async def slow(key: str, data: bytes) -> None:
        monkeypatch.setattr(house.store, "put", put)
        second = house.upload("talk.mp4", "b")
        facts = dict(house.facts.facts)
        await house.finish(second)
        house.facts.facts, later = facts, house.facts.facts  # its end is not published yet
        await put(key, data)
        after.update(later)

    after: dict[str, bytes] = {}
    monkeypatch.setattr(house.store, "put", slow)
    with pytest.raises(Retry):
        await house.finish(first)
    house.facts.facts |= after
    await house.finish(first)
    latest = Upload(bucket="v2t-uploads", key="talk.mp4", etag="b")
    assert house.store.at("transcripts/talk.json") == upload_job_id(latest)


async def test_a_file_that_comes_back_gets_its_path_back() -> None:
    """Else A, B and A again end with the transcript of B."""
    house = House()
    first = house.upload("talk.mp4", "a")
    await house.finish(first)
    await house.finish(house.upload("talk.mp4", "b"))
    house.upload("talk.mp4", "a")
    await copies.restore_copies(cast("Connection", house.facts), cast("BucketStore", house.store), SETTINGS, first)
    assert house.store.at("transcripts/talk.json") == upload_job_id(first)


async def test_a_late_repeat_of_an_old_announcement_changes_nothing() -> None:
    """Else MinIO's queue, emptied after an outage, brings back the transcript of a file that was replaced."""
    house = House()
    first = house.upload("talk.mp4", "a")
    await house.finish(first)
    latest = await house.finish(house.upload("talk.mp4", "b"))
    await copies.restore_copies(cast("Connection", house.facts), cast("BucketStore", house.store), SETTINGS, first)
    assert house.store.at("transcripts/talk.json") == latest


async def test_a_deleted_upload_leaves_the_transcript_that_is_there() -> None:
    """Else a late job wins after all, once its upload is gone."""
    house = House()
    first, second = house.upload("talk.mp4", "a"), house.upload("talk.mp4", "b")
    latest = await house.finish(second)
    del house.store.objects[second.url]
    await house.finish(first)
    assert house.store.at("transcripts/talk.json") == latest


async def test_uploads_of_one_stem_that_end_together_keep_a_copy_each() -> None:
    """Else the transcript of talk.wav silently replaces that of talk.mp4."""
    house = House()
    uploads = [house.upload(f"talk.{suffix}", suffix) for suffix in ("mp4", "wav", "mkv", "mp4.wav", "ogg")]
    jobs = await asyncio.gather(*map(house.finish, uploads))
    kept = [key for key in house.store.objects if key.startswith("transcripts/talk") and key.endswith(".json")]
    assert {house.store.at(key) for key in kept} == set(jobs)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_path_below_another_transcripts_name_stops_nothing(order: tuple[int, ...]) -> None:
    """Else the job hangs at its very end, with every word there."""
    house = House()
    uploads = [
        house.upload("talk.mp4", "a"),
        house.upload("talk.srt/part.mp4", "b"),
        house.upload("talk.json/x.mp4", "c"),
    ]
    jobs = {n: await house.finish(uploads[n]) for n in (*order, 2)}
    assert all(f"transcripts/{job}/transcript.json" in house.store.objects for job in jobs.values())
    assert house.store.at("transcripts/talk.json") == jobs[0]


async def test_a_path_like_that_of_a_job_spares_the_jobs_own_transcript() -> None:
    """Else an upload named after a job replaces that job's transcript."""
    house = House()
    job = await house.finish(house.upload("talk.mp4", "a"))
    await house.finish(house.upload(f"{job}/transcript.mp4", "b"))
    assert house.store.at(f"transcripts/{job}/transcript.json") == job


async def test_an_upload_that_came_back_before_its_job_could_read_it_has_another_job() -> None:
    """Else the file is never transcribed, because its job failed while another file was in its place."""
    house = House()
    upload = house.upload("talk.mp4", "a")
    connection = cast("Connection", house.facts)
    assert await copies.latest_job(connection, upload) == (upload_job_id(upload), True)
    house.facts.add(failed(upload_job_id(upload), gone=True))
    again, is_known = await copies.latest_job(connection, upload)
    assert not is_known
    assert again != upload_job_id(upload)


_PART = st.sampled_from(
    ("..", ".", "", "a", "a.mp4", "CON", "\0", "\n", "\\..\\", "~", "%2e%2e", "\u4f8b" * 85, "\u202e")
)


@given(st.lists(_PART, min_size=1, max_size=6).map("/".join).filter(bool))
async def test_a_transcript_stays_in_the_bucket_of_its_kind(key: str) -> None:
    """An upload whose name climbs up writes over another's media, transcript or upload."""
    store = Kept()
    url = ROOT + key
    try:
        check(SubmitRequest(url=url))
    except Reject:
        return
    words = transcript(source=url)
    await copies.store_copies(
        cast("Connection", Facts()),
        cast("BucketStore", store),
        msgspec.structs.replace(SETTINGS, beside_upload=True),
        words,
        None,
    )
    assert len(store.objects) == 2 * len(FORMATS)
    for stored in store.objects:
        assert stored.startswith(("transcripts/", ROOT))
        assert not {".", ".."} & set(stored.split("/"))
        assert "\0" not in stored
        assert len(stored.rpartition("/")[2].encode()) <= 255
