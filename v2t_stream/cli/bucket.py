"""`v2t bucket`: uploads to MinIO as jobs."""

import click

from v2t_stream.cli.loop import in_loop
from v2t_stream.jobs.upload_sync import UploadSync
from v2t_stream.runtime.housekeeping import promise
from v2t_stream.runtime.session import session
from v2t_stream.runtime.stores import minio_store
from v2t_stream.settings import Settings


@click.group()
def bucket() -> None:
    """Let uploads to MinIO start jobs, and pick up missed ones."""


@bucket.command()
def init() -> None:
    """Create the buckets. MinIO then announces what is uploaded."""
    settings = Settings.from_environment()
    store = minio_store(settings)

    async def run() -> None:
        retention = settings.retention
        await store.create(media_max_age=retention.media, transcript_max_age=retention.transcripts)
        await store.announce_uploads()
        click.echo(promise(await store.announces_uploads(), settings.upload_bucket))

    in_loop(run())


@bucket.command()
def sync() -> None:
    """Submit uploads that have no job yet."""
    settings = Settings.from_environment()
    store = minio_store(settings)

    async def run() -> None:
        async with session(settings, work=False) as pipeline:
            submitted, known = await UploadSync(pipeline.connection, store, settings).run()
        click.echo(f"submitted {submitted} uploads, {known} already had jobs")

    in_loop(run())
