"""Download: from a URL to a media file in the object store, by yt-dlp; what lies in a bucket stays there."""

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from importlib import import_module
from pathlib import Path
from typing import Final

from schemas.events import Downloaded, Progress, Submitted
from schemas.message import Message
from stages.fetch import Fetch, too_large
from v2t_stream.errors import Reject
from v2t_stream.scratch import scratch
from v2t_stream.stage import Resources
from v2t_stream.text import without_signature
from v2t_stream.topology import stage_row
from v2t_stream.uploads import is_foreign

_REPORT_EVERY: Final = 0.5  # seconds


class Download:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("download")
        self._store = resources.store
        self._settings = resources.settings
        self._scratch = scratch(resources.settings.home, "download")
        # It takes a second to import; by the time a job comes it is there.
        threading.Thread(target=import_module, args=("yt_dlp",), daemon=True).start()

    async def process(self, job: Submitted) -> AsyncGenerator[Message]:
        """Raises Reject for what cannot be had, Retry for what may be had later; both with the user's sentence."""
        begun = time.monotonic()
        if job.media is not None:
            size = await self._store.size(job.media)
            if size is None:
                raise Reject(f"the uploaded file of {job.title!r} is no longer in the object store: send it again")
            title, source, key = job.title, job.title, job.media
        elif job.url and job.url.startswith("s3://"):
            size = await self._size_in_bucket(job.url)
            title, source, key = job.title, job.url, job.url  # it is read from there: no second copy
        else:
            source = job.url or ""
            with tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True) as folder:
                fetch = Fetch(source, Path(folder), self._settings)
                async for progress in _report(job.job, fetch):
                    yield progress
                media = fetch.media
                title, key = media.title, f"media/{job.job}/source{media.path.suffix}"
                size = media.path.stat().st_size
                await self._store.put_file(key, media.path)
        yield Downloaded(
            job=job.job,
            title=title,
            source=without_signature(source),
            media=key,
            size=size,
            seconds=time.monotonic() - begun,
            options=job.options,
        )

    async def _size_in_bucket(self, url: str) -> int:
        """Bytes of an object that can be media; raises Reject for any other."""
        if not self._settings.minio_endpoint:
            raise Reject(f"{url} cannot be read: MINIO_ENDPOINT is not set, so no S3 server is known")
        if is_foreign(url):
            raise Reject(f"{url} is neither video nor audio, by its name: upload media")
        size = await self._store.size(url)
        if size is None:
            raise Reject(f"{url} is not, or no longer, in the bucket: upload it again")
        if size == 0:
            raise Reject(f"{url} is an empty file (0 bytes): upload it again")
        if size > self._settings.max_bytes:
            raise Reject(too_large(url, size, self._settings))
        return size

    async def close(self) -> None:
        """Nothing is held."""


async def _report(job: str, fetch: Fetch) -> AsyncGenerator[Progress]:
    """Run `fetch` in a thread, telling how far it is. Raises what it raises."""
    running = asyncio.create_task(asyncio.to_thread(fetch.run))
    reported = -1
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=_REPORT_EVERY)
            if fetch.received != reported:
                reported = fetch.received
                yield Progress(job=job, stage="download", done=reported, total=fetch.expected)
        await running
    finally:
        fetch.cancelled = True  # a thread cannot be killed; it sees this at its next block of bytes
        running.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else looks then
