"""The media of a job, as long as it is stored."""

from pathlib import Path

from v2t_stream.errors import ObjectMissing, V2TError
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
