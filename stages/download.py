"""Download: from a URL to a media file in the object store, with yt-dlp; or from a list to a job for each entry.

Files in a bucket stay there.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from schemas.events import Cancelled, Completed, Downloaded, Failed, Listed, Progress, Rerun, Submitted
from schemas.message import Message
from schemas.objects import Version
from v2t_stream.errors import InvalidKey, Reject, VersionGone
from v2t_stream.fetch.fetch_host import FetchHost
from v2t_stream.fetch.media import Listing, too_large
from v2t_stream.fetch.messages import Received
from v2t_stream.host.scratch import scratch
from v2t_stream.jobs import links, previous
from v2t_stream.jobs.lists import children
from v2t_stream.jobs.uploads import is_foreign
from v2t_stream.runtime.stage import Resources
from v2t_stream.store.pieces import Pieces
from v2t_stream.store.protocol import BucketStore, Found
from v2t_stream.text import without_secrets
from v2t_stream.topology.ids import child_id, folder
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import JOBS


class Download:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("download")
        self._connection = resources.connection
        self._store = resources.store
        self._settings = resources.settings
        self._tally = resources.presence.tally
        self._scratch = scratch(resources.settings.home, "download")
        self._fetches = FetchHost(resources.settings)

    async def process(self, work: Submitted | Rerun) -> AsyncGenerator[Message, bool | None]:
        """Raises Reject for what cannot be fetched, Retry for what may work later; users read the sentence."""
        job = work.begins if isinstance(work, Rerun) else work
        if isinstance(job, Downloaded):
            return  # the media is there: this retry is for the stage convert
        if job.parent and await self._connection.last(JOBS, Cancelled.subject_of(job=job.parent)):
            yield Cancelled(job=job.job, run=job.run)  # its list was cancelled while it was being listed
            return
        async with aclosing(self._found(job)) as results:
            async for result in results:
                yield result

    def _found(self, job: Submitted) -> AsyncGenerator[Message, bool | None]:
        if job.media is not None:
            return self._taken(job)
        return self._left_in_bucket(job) if job.url and job.url.startswith("s3://") else self._fetched(job)

    async def _left_in_bucket(self, job: Submitted) -> AsyncGenerator[Message, bool | None]:
        """Media in a bucket is read from there, without a second copy; for an upload, the announced version."""
        begun = time.monotonic()
        url = job.url or ""
        try:
            found = await self._in_bucket(url, job.version)
        except VersionGone as error:
            yield Failed(job=job.job, run=job.run, stage="download", reason=str(error), gone=True)
            return
        yield Downloaded(
            job=job.job,
            run=job.run,
            title=job.title,
            source=url,
            media=url,
            size=found.size,
            seconds=time.monotonic() - begun,
            options=job.options,
            version=found.version,
        )

    async def _taken(self, job: Submitted) -> AsyncGenerator[Message, bool | None]:
        """The file that came with the submission."""
        begun = time.monotonic()
        media = job.media or ""
        size, sha256 = await asyncio.gather(self._store.size(media), self._store.sha256(media))
        if size is None:
            size = await self._arriving(media)
        if size is None:
            raise Reject(f"the uploaded file of {job.title!r} is no longer in the object store: send it again")
        origin = previous.of_content(sha256) if sha256 else ""
        if before := await self._done(job, origin, job.title):
            yield before
            return
        yield Downloaded(
            job=job.job,
            run=job.run,
            title=job.title,
            source=job.title,
            media=media,
            size=size,
            seconds=time.monotonic() - begun,
            options=job.options,
            origin=origin,
        )

    async def _arriving(self, media: str) -> int | None:
        """The size of an upload that still goes on, in bytes, as far as it is known; None if there is none."""
        pieces = Pieces.of(self._store, media)
        manifest = await pieces.manifest() if pieces else None
        return (manifest.length or manifest.about or 0) if manifest else None

    async def _fetched(self, job: Submitted) -> AsyncGenerator[Message, bool | None]:
        """What the link leads to: media, or a list."""
        begun = time.monotonic()
        if before := await self._done(job, job.origin):
            yield before
            return
        source = await links.whole(self._store, job)
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True))
            fetching = self._fetches.fetching(source, Path(directory), place=job.entry, limit=job.limit)
            fetch = await stack.enter_async_context(fetching)
            async with aclosing(_reported(job, fetch.look())) as progress:
                async for step in progress:
                    yield step
            if fetch.listing:
                async with aclosing(self._listed(job, fetch.listing)) as facts:
                    async for fact in facts:
                        yield fact
                return
            if before := await self._done(job, fetch.origin):
                yield before
                return
            async with aclosing(_reported(job, fetch.download())) as progress:
                async for step in progress:
                    yield step
            media = fetch.media
            origin = fetch.origin or previous.of_content(await asyncio.to_thread(previous.sha256, media.path))
            if not fetch.origin and (before := await self._done(job, origin, media.title)):
                yield before
                return
            key = f"media/{folder(job.job, job.run)}/source{media.path.suffix}"
            size = media.path.stat().st_size
            self._tally.downloaded += size
            await self._store.put_file(key, media.path)
        yield Downloaded(
            job=job.job,
            run=job.run,
            title=job.title if job.is_titled else media.title,
            source=without_secrets(source),
            media=key,
            size=size,
            seconds=time.monotonic() - begun,
            options=job.options,
            origin=origin,
        )

    async def _done(self, job: Submitted, origin: str, title: str = "") -> Completed | None:
        """The end of the job if another did the same before; None if not, or if `force` asks to redo it.

        `title`: files with the same bytes may have different names; without it, and if nobody gave the job one, the
        other job's title.
        """
        if job.force or not origin:
            return None
        before = await previous.find(self._connection, self._store, origin, job.options)
        if before is None or before.job == job.job:
            return None
        return Completed(
            job=job.job,
            run=job.run,
            transcript=before.transcript,
            language=before.language,
            segments=before.segments,
            unheard=before.unheard,
            truncated=before.truncated,
            of=before.job,
            title=job.title if job.is_titled else title or before.title,
            duration=before.duration,
        )

    async def _listed(self, job: Submitted, listing: Listing) -> AsyncGenerator[Message, bool | None]:
        """A job for each entry. Keeps those of an earlier delivery, and adds what the list has gained at its end."""
        if job.parent:
            raise Reject(f"{job.url} is a list within a list: submit its link on its own")
        known = [each.submitted for each in await children(self._connection, job.job) if each.submitted]
        # Counted, because two entries may differ only in what is not shown.
        there = Counter((each.url, each.entry) for each in known)
        new = []
        for entry in listing.entries:
            place = without_secrets(entry.url), entry.place
            if there[place]:
                there[place] -= 1
            else:
                new.append(entry)
        if job.limit is not None:
            new = new[: max(0, job.limit - len(known))]
        for n, entry in enumerate(new, len(known) + 1):
            url, link = await links.keep(self._store, child_id(job.job, n), entry.url)
            yield Submitted(
                job=child_id(job.job, n),
                title=without_secrets(entry.title),
                is_titled=entry.is_titled,
                url=url,
                link=link,
                options=job.options,
                force=job.force,
                parent=job.job,
                entry=entry.place,
                origin=entry.origin,
                callback=job.callback,
                callback_link=job.callback_link,
                owner=job.owner,
            )
        yield Listed(job=job.job, run=job.run, title=listing.title, children=len(known) + len(new))

    async def _in_bucket(self, url: str, version: Version | None) -> Found:
        """An object that can be media. Raises Reject for any other, VersionGone for another version."""
        if not isinstance(self._store, BucketStore):
            raise Reject(f"{url} cannot be read: MINIO_ENDPOINT is not set, so no S3 server is known")
        if is_foreign(url):
            raise Reject(f"{url} is neither video nor audio, judging by its name: upload media")
        try:
            found = await self._store.look(url, version)
        except InvalidKey as error:
            raise Reject(f"{error}: upload it under another name") from error
        if found is None:
            raise Reject(f"{url} is not in the bucket, or no longer: upload it again")
        if found.size == 0:
            raise Reject(f"{url} is an empty file (0 bytes): upload it again")
        if found.size > self._settings.max_bytes:
            raise Reject(too_large(url, found.size, self._settings))
        return found

    async def close(self) -> None:
        await self._fetches.close()


async def _reported(job: Submitted, steps: AsyncGenerator[Received]) -> AsyncGenerator[Progress]:
    """The progress of a step of a fetch, as facts of the job."""
    async with aclosing(steps):
        async for step in steps:
            yield Progress(job=job.job, run=job.run, stage="download", done=step.received, total=step.expected)
