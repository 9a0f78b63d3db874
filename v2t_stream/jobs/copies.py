"""The transcripts of uploads under the uploads' own paths: of each path that of the latest upload there."""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import msgspec

from schemas.events import Completed, Failed, Rerun, Submitted
from schemas.message import decode_as
from schemas.notification import Upload
from schemas.objects import Version
from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import InvalidKey, ObjectMissing, Retry
from v2t_stream.jobs.formats import render_all
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import fold
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import OURS, BucketStore
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import any_run

log = logging.getLogger(__name__)

_NAME: Final = 255 - len(".json")  # bytes that one step of a key has in MinIO


async def latest_job(connection: Connection, upload: Upload) -> tuple[str, bool]:
    """The id of the job of this version of an upload, and whether it has been submitted.

    It has one job, and another each time that it is put again after its job had found it replaced.
    """
    for again in itertools.count():
        job = upload_job_id(upload, again)
        if not await connection.any_of(JOBS, [Submitted.subject_of(job=job)]):
            return job, False
        ends = [*any_run(Failed, job=job), Rerun.subject_of(job=job, run="*")]
        failed = fold(job, await history(connection, ends)).failed
        if failed is None or not failed.gone:
            return job, True
    raise AssertionError  # one can always count on


async def store_copies(
    connection: Connection, store: BucketStore, settings: Settings, transcript: Transcript, version: Version | None
) -> bool:
    """Store the transcript of an upload under the upload's own path too; False where it has or keeps no such place.

    `version`: of which version of the upload it is; None from a release that did not say. Where another lies there by
    now, the transcript of that one is stored, if there is one yet: whoever ends last, the path is the latest upload's.
    Raises Retry where ours may have been mixed with one that is not completed yet.
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
            completed = await _completed(connection, (await latest_job(connection, upload))[0])
            latest = await _read(store, f"{completed.transcript}.json") if completed else None
        if latest is None and written:
            raise Retry(f"{transcript.source} was replaced while its transcript was stored", delay=1)
        if latest is None:
            return False  # its own job stores it
        await _store(store, settings, key, latest, replaces=lies is not None)
        found = await store.look(transcript.source)
        if lies == (found.version if found else None):
            return latest is transcript
    raise AssertionError  # one can always count on


async def restore_copies(connection: Connection, store: BucketStore, settings: Settings, upload: Upload) -> None:
    """An upload was told of again. Where it was put again, and its job is done, the path is its own again."""
    job, _ = await latest_job(connection, upload)
    completed = await _completed(connection, job)
    if not completed:
        return
    for stem in _stems(upload.key, job):
        there = await _read(store, f"transcripts/{stem}.json")
        if there and there.job == job:
            return
    if transcript := await _read(store, f"{completed.transcript}.json"):
        await store_copies(connection, store, settings, transcript, upload.exactly)


def _is_same(lies: Version, version: Version) -> bool:
    return lies.etag == version.etag and (not version.id or lies.id == version.id)


async def _completed(connection: Connection, job: str) -> Completed | None:
    """How the latest run of a job that is completed ended; None where none is."""
    runs = fold(job, await history(connection, [*any_run(Completed, job=job)])).runs
    latest = max((number for number, run in runs.items() if run.completed), default=None)
    return None if latest is None else runs[latest].completed


async def _read(store: BucketStore, key: str) -> Transcript | None:
    try:
        return decode_as(Transcript, await store.get(key))
    except (InvalidKey, ObjectMissing, msgspec.DecodeError):
        return None


async def _store(store: BucketStore, settings: Settings, key: str, transcript: Transcript, *, replaces: bool) -> None:
    """`replaces`: also in place of the transcript of another version of the same upload."""
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
    """What the copies may be called, less the suffix: the first that no other file's transcript has."""
    path = PurePosixPath(key)
    for stem in (path.with_suffix(""), path, path.with_name(f"{path.name}.{job}")):  # talk.mp4 and talk.wav
        # A suffix must still be added, and the upload's own name may be as long as a name can be.
        yield str(stem.with_name(stem.name.encode()[:_NAME].decode(errors="ignore")))


async def _claim(store: BucketStore, key: str, data: bytes, transcript: Transcript, *, replaces: bool) -> bool:
    """Whether the name is ours, now or already. Of several uploads at once each finds another name."""
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
        log.warning("%s", error)  # a folder of this name, as there was an upload below it


async def _put_beside(store: BucketStore, key: str, data: bytes) -> None:
    """What others put beside their upload is theirs, and stays."""
    try:
        if await store.put_new(key, data):
            return
    except InvalidKey as error:
        log.warning("%s", error)
        return
    found = await store.look(key)
    if found and OURS in found.labels:
        await store.put(key, data)
