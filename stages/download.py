"""Download: from a URL to a media file in the object store, by yt-dlp."""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from schemas.events import Downloaded, Progress, Submitted
from schemas.message import Message
from stages.fetch import Fetch
from v2t_stream.errors import Reject
from v2t_stream.stage import Resources
from v2t_stream.topology import stage_row

_REPORT_EVERY = 0.5  # seconds


class Download:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("download")
        self._store = resources.store
        self._settings = resources.settings
        self._scratch = resources.settings.home / "scratch"
        self._scratch.mkdir(parents=True, exist_ok=True)

    async def process(self, job: Submitted) -> AsyncGenerator[Message]:
        """Raises Reject for what cannot be had, Retry for what may be had later; both with the user's sentence."""
        begun = time.monotonic()
        if job.media is not None:
            size = await self._store.size(job.media)
            if size is None:
                raise Reject(f"the uploaded file of {job.title!r} is no longer in the object store: send it again")
            yield self._downloaded(job, job.title, job.title, job.media, size, begun)
            return
        with tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True) as folder:
            fetch = Fetch(job.url or "", Path(folder), self._settings)
            fetching = asyncio.create_task(asyncio.to_thread(fetch.run))
            try:
                reported = -1
                while not fetching.done():
                    await asyncio.wait({fetching}, timeout=_REPORT_EVERY)
                    if fetch.received != reported:
                        reported = fetch.received
                        yield Progress(job=job.job, stage="download", done=reported, total=fetch.expected)
                media = await fetching
            finally:
                fetch.cancelled = True  # a thread cannot be killed; it sees this at its next block of bytes
            key = f"media/{job.job}/source{media.path.suffix}"
            await self._store.put_file(key, media.path)
            yield self._downloaded(job, media.title, job.url or "", key, media.path.stat().st_size, begun)

    def _downloaded(self, job: Submitted, title: str, source: str, media: str, size: int, begun: float) -> Downloaded:
        return Downloaded(
            job=job.job,
            title=title,
            source=source,
            media=media,
            size=size,
            seconds=time.monotonic() - begun,
            options=job.options,
        )

    async def close(self) -> None:
        """Nothing is held."""
