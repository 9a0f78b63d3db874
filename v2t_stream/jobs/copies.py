"""Copies of transcripts under the paths of their uploads. Each path gets the transcript of its latest upload."""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import msgspec

from schemas.events import Completed, Corrected, Failed, Rerun, Submitted
from schemas.message import decode_as
from schemas.notification import Upload
from schemas.objects import Version
from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import InvalidKey, ObjectMissing, Retry
from v2t_stream.jobs.formats import FORMATS, render_all
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import OURS, BucketStore, ObjectStore
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import any_run

log = logging.getLogger(__name__)

_NAME: Final = 255 - len(".json")  # bytes; MinIO's limit for one step of a key


async def latest_job(connection: Connection, upload: Upload) -> tuple[str, bool]:
    """The id of the latest job of this version of an upload, and whether it was submitted.

    A version has one job, and one more each time somebody uploads it again after its job found it replaced.
    """
    for again in itertools.count():
        job = upload_job_id(upload, again)
        if not await connection.any_of(JOBS, [Submitted.subject_of(job=job)]):
            return job, False
        ends = [*any_run(Failed, job=job), Rerun.subject_of(job=job, run="*")]
        failed = fold(job, await history(connection, ends)).failed
        if failed is None or not failed.gone:
            return job, True
    raise AssertionError  # the count never ends


async def store_copies(
    connection: Connection, store: BucketStore, settings: Settings, transcript: Transcript, version: Version | None
) -> bool:
    """Store the transcript of an upload under the upload's path too; False if it has no such path, or lost it.

    `version`: the transcribed version of the upload; None from a release that did not say. If another version is there
    by now, store that version's transcript, if it exists: whichever job ends last, the path belongs to the latest
    upload. Raises Retry if ours may have been mixed with one that is not completed yet.
    """
    root = f"s3://{settings.upload_bucket}/"
    if not transcript.source.startswith(root):
        return False
    key = transcript.source.removeprefix(root)
    for written in itertools.count():
        found = await store.look(transcript.source)
        lies = found.version if found else None
        if lies is None or version is None or _is_same(lies, version):
            latest: Transcript | None = transcript
        else:
            upload = Upload(bucket=settings.upload_bucket, key=key, etag=lies.etag, version=lies.id)
            prefix = await _transcript(connection, (await latest_job(connection, upload))[0])
            latest = await _read(store, f"{prefix}.json") if prefix else None
        if latest is None and written:
            raise Retry(f"{transcript.source} was replaced while its transcript was stored", delay=1)
        if latest is None:
            return False  # that version's job will store it
        await _store(store, settings, key, latest, replaces=lies is not None)
        found = await store.look(transcript.source)
        if lies == (found.version if found else None):
            return latest is transcript
    raise AssertionError  # the count never ends


async def restore_copies(connection: Connection, store: BucketStore, settings: Settings, upload: Upload) -> None:
    """For an upload that was announced again: if its job is done, give it its path back."""
    job, _ = await latest_job(connection, upload)
    prefix = await _transcript(connection, job)
    if not prefix:
        return
    for stem in _stems(upload.key, job):
        there = await _read(store, f"transcripts/{stem}.json")
        if there and there.job == job:
            return
    if transcript := await _read(store, f"{prefix}.json"):
        await store_copies(connection, store, settings, transcript, upload.exactly)


async def recopy(
    connection: Connection, store: ObjectStore, settings: Settings, job: Job, transcript: Transcript
) -> None:
    """Store a corrected transcript under the path of the job's upload too, if it has one."""
    if isinstance(store, BucketStore) and not (job.completed and job.completed.of):  # those are another job's
        version = job.downloaded.version if job.downloaded else None
        await store_copies(connection, store, settings, transcript, version)


async def remove_copies(store: BucketStore, settings: Settings, job: Job) -> None:
    """Remove a job's transcript from the path of its upload among the transcripts; beside the upload it stays."""
    root = f"s3://{settings.upload_bucket}/"
    if not job.source.startswith(root):
        return
    for stem in _stems(job.source.removeprefix(root), job.id):
        there = await _read(store, f"transcripts/{stem}.json")
        if there and there.job == job.id:
            for format_ in FORMATS:
                await store.delete(f"transcripts/{stem}.{format_}")


def _is_same(lies: Version, version: Version) -> bool:
    return lies.etag == version.etag and (not version.id or lies.id == version.id)


async def _transcript(connection: Connection, job: str) -> str:
    """The prefix of the transcript of the job's latest completed run; empty if no run is completed."""
    facts = await history(connection, [*any_run(Completed, job=job), *any_run(Corrected, job=job)])
    state = fold(job, facts)
    state.run = max((number for number, run in state.runs.items() if run.completed), default=0)
    return state.transcript


async def _read(store: BucketStore, key: str) -> Transcript | None:
    try:
        return decode_as(Transcript, await store.get(key))
    except (InvalidKey, ObjectMissing, msgspec.DecodeError):
        return None


async def _store(store: BucketStore, settings: Settings, key: str, transcript: Transcript, *, replaces: bool) -> None:
    """`replaces`: also overwrite the transcript of another version of the same upload."""
    texts = {format_: text.encode() for format_, text in render_all(transcript)}
    for stem in _stems(key, transcript.job):
        if await _claim(store, f"transcripts/{stem}.json", texts["json"], transcript, replaces=replaces):
            break
    else:
        log.warning("the transcript of %s is only in transcripts/%s/: its own path is taken", key, transcript.job)
        return
    await asyncio.gather(*(_put(store, f"transcripts/{stem}.{format_}", text) for format_, text in texts.items()))
    if settings.beside_upload:
        beside = f"s3://{settings.upload_bucket}/{stem}"
        await asyncio.gather(*(_put_beside(store, f"{beside}.{format_}", text) for format_, text in texts.items()))


def _stems(key: str, job: str) -> Iterator[str]:
    """Possible names for the copies, without the suffix. The first that no other file's transcript has is used."""
    path = PurePosixPath(key)
    for stem in (path.with_suffix(""), path, path.with_name(f"{path.name}.{job}")):  # talk.mp4 and talk.wav
        # The upload's own name may already be as long as a name can be, and we still add a suffix.
        yield str(stem.with_name(stem.name.encode()[:_NAME].decode(errors="ignore")))


async def _claim(store: BucketStore, key: str, data: bytes, transcript: Transcript, *, replaces: bool) -> bool:
    """Claim the name; whether it is ours. If several uploads end at once, each gets a different name."""
    try:
        if await store.put_new(key, data):
            return True
    except InvalidKey as error:
        log.info("%s", error)
        return False
    there = await _read(store, key)
    return bool(there and there.source == transcript.source and (replaces or there.job == transcript.job))


async def _put(store: BucketStore, key: str, data: bytes) -> None:
    try:
        await store.put(key, data)
    except InvalidKey as error:
        log.warning("%s", error)  # there is a folder of this name, because of an upload below it


async def _put_beside(store: BucketStore, key: str, data: bytes) -> None:
    """Leave alone a file that a user put beside the upload."""
    try:
        if await store.put_new(key, data):
            return
    except InvalidKey as error:
        log.warning("%s", error)
        return
    found = await store.look(key)
    if found and OURS in found.labels:
        await store.put(key, data)
