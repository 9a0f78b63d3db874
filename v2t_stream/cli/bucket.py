"""`v2t bucket`: uploads to MinIO as jobs."""

import click
import uvloop

from v2t_stream.jobs.upload_sync import UploadSync
from v2t_stream.runtime.housekeeping import promise
from v2t_stream.runtime.session import minio_store, session
from v2t_stream.settings import Settings


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
        click.echo(promise(await store.announces_uploads(), settings.upload_bucket))

    uvloop.run(run())


@bucket.command()
def sync() -> None:
    """Submit what lies in the bucket for uploads and has no job yet."""
    settings = Settings.from_environment()
    store = minio_store(settings)

    async def run() -> None:
        async with session(settings, work=False) as pipeline:
            submitted, known = await UploadSync(pipeline.connection, store, settings).run()
        click.echo(f"{submitted} uploads submitted, {known} had their jobs already")

    uvloop.run(run())
