"""`v2t bucket`: uploads to MinIO as jobs."""

import secrets

import click
import uvloop

from schemas.message import encode
from schemas.notification import Notification
from v2t_stream.jetstream import Connection
from v2t_stream.minio_store import MinioStore
from v2t_stream.object_store import OURS
from v2t_stream.session import minio_store, session
from v2t_stream.settings import Settings
from v2t_stream.topology import BUCKET_SUBJECT, JOBS, job_of, upload_job_id
from v2t_stream.uploads import is_wanted


@click.group()
def bucket() -> None:
    """Have uploads to MinIO start jobs, and take up those that did not."""


@bucket.command()
def init() -> None:
    """Create the buckets, and have MinIO announce what is put into the one for uploads."""
    settings = Settings.from_environment()
    store = minio_store(settings)

    async def run() -> None:
        retention = settings.retention
        await store.create(media_max_age=retention.media, transcript_max_age=retention.transcripts)
        await store.announce_uploads()
        click.echo(f"what is put into the bucket {settings.upload_bucket} starts a job")

    uvloop.run(run())


@bucket.command()
def sync() -> None:
    """Submit what lies in the bucket for uploads and has no job yet."""
    settings = Settings.from_environment()
    store = minio_store(settings)

    async def run() -> None:
        async with session(settings, work=False) as pipeline:
            submitted, known = await _sync(pipeline.connection, store, settings)
        click.echo(f"{submitted} uploads submitted, {known} had their jobs already")

    uvloop.run(run())


async def _sync(connection: Connection, store: MinioStore, settings: Settings) -> tuple[int, int]:
    """Announce again what has no job, which is harmless should MinIO do so too; how many, and how many had one."""
    jobs = {job_of(subject) for subject in await connection.subjects(JOBS, "v2t.job.*.submitted")}
    # The facts of a job are forgotten after a month, its transcript is not.
    jobs |= {key.split("/")[1] for key in await store.keys("transcripts/up-") if key.endswith("/transcript.json")}
    submitted = known = 0
    async for upload in store.uploads():
        if not is_wanted(settings, upload):
            continue
        job = upload_job_id(upload)
        if job in jobs:
            known += 1
        elif OURS not in await store.labels(upload.url):
            await connection.submit(BUCKET_SUBJECT, encode(Notification.of(upload)), secrets.token_urlsafe())
            submitted += 1
    return submitted, known
