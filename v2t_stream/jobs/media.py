"""The media of a job, as long as it is stored."""

from pathlib import Path

from schemas.objects import Version
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import ObjectMissing, V2TError
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.store.protocol import ObjectStore


async def fetch(store: ObjectStore, job: Job, path: Path) -> None:
    """Write it to `path`. Raises V2TError."""
    media = job.downloaded
    if media is None:
        raise V2TError(f"job {job.id} has no media: it is {job.state}")
    try:
        await store.get_file(media.media, path, version=media.version)
    except ObjectMissing as error:
        raise V2TError(f"the media of job {job.id} is no longer stored: play {media.source} instead") from error


async def located(connection: Connection, job: Job) -> tuple[str, Version | None]:
    """The key of the medium in the store, and which version of it; of a job that was done before, the other job's.

    Raises V2TError if there is none, and BrokerError.
    """
    if job.downloaded:
        return job.downloaded.media, job.downloaded.version
    if job.submitted and job.submitted.media:
        return job.submitted.media, None
    if job.completed and job.completed.of:
        other = await read(connection, job.completed.of)
        if other.downloaded:
            return other.downloaded.media, other.downloaded.version
    raise V2TError(f"job {job.id} has no media: it is {job.state}")
