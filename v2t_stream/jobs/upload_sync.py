"""The safety net for a bucket's announcements: announces uploads again if they have no job."""

import asyncio
import logging
import secrets
from typing import Final

import msgspec

from schemas.events import Cancelled, Failed, Submitted
from schemas.message import Message, encode
from schemas.notification import BUCKET_SUBJECT, Notification, Upload
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Forbidden, InvalidKey
from v2t_stream.jobs.copies import latest_job
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.uploads import is_wanted
from v2t_stream.settings import Settings
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.protocol import OURS
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import any_run, job_of

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64  # uploads looked up at the same time, and announced together
_LONGEST: Final = 32 << 10  # bytes of a message; the inbox takes twice as many
_LOST: Final = "\ufffd"  # what a list may show instead of a character that XML cannot hold
_JOBS: Final = "transcripts/up-"  # the prefix of uploads' transcripts, which outlive the facts of their jobs


class UploadSync:
    """Remembers what it found out about each upload, so that looking again costs little."""

    def __init__(self, connection: Connection, store: MinioStore, settings: Settings) -> None:
        self._connection = connection
        self._store = store
        self._settings = settings
        self._settled: set[Upload] = set()  # uploads that have a job or need none, as listed
        self._submitted: set[str] = set()  # jobs
        self._failed: set[str] = set()
        self._keeps_versions = False

    async def run(self) -> tuple[int, int]:
        """Announce uploads without a job; how many, and how many had one. Announcing one twice is harmless."""
        self._submitted = await self._jobs(Submitted) | await self._jobs(Cancelled)  # a removed job has only that
        self._failed = await self._jobs(Failed)
        self._submitted |= await self._store.folders(_JOBS)
        self._keeps_versions = await self._store.keeps_versions()
        announced = known = 0
        listed: set[Upload] = set()
        async for page in self._store.uploads():
            wanted = [upload for upload in page if is_wanted(self._settings, upload)]
            listed.update(wanted)
            for start in range(0, len(wanted), _AT_ONCE):
                results = await asyncio.gather(*map(self._look, wanted[start : start + _AT_ONCE]))
                without = [result for result in results if isinstance(result, Upload)]
                await self._announce(without)
                announced += len(without)
                known += results.count(True)
        self._settled &= listed
        return announced, known

    async def _jobs(self, fact: type[Message]) -> set[str]:
        subjects = [await self._connection.subjects(JOBS, pattern) for pattern in any_run(fact, job="*")]
        return {job_of(subject) for pattern in subjects for subject in pattern}

    async def _look(self, listed: Upload) -> Upload | bool | None:
        """The upload to announce; True if it has its job, None if it needs none."""
        if listed in self._settled:
            return True
        upload: Upload | None = listed
        if not await self._has_job(listed):
            upload = await self._exactly(listed)
            if upload and (upload == listed or not await self._has_job(upload)):
                return upload
        self._settled.add(listed)
        return None if upload is None else True

    async def _announce(self, uploads: list[Upload]) -> None:
        """Announce them together, because the broker writes each message to disk, which takes the longest."""
        data = encode(Notification.of(*uploads))
        if len(data) > _LONGEST and len(uploads) > 1:
            half = len(uploads) // 2
            await self._announce(uploads[:half])
            await self._announce(uploads[half:])
        elif uploads:
            await self._connection.submit(BUCKET_SUBJECT, data, secrets.token_urlsafe())

    async def _has_job(self, upload: Upload) -> bool:
        job = upload_job_id(upload)
        if job not in self._submitted:
            return False
        return job not in self._failed or (await latest_job(self._connection, upload))[1]

    async def _exactly(self, listed: Upload) -> Upload | None:
        """The upload with its version; None if there is no such object, or we put it there ourselves."""
        may_be_ours = listed.key.endswith(tuple(f".{format_}" for format_ in FORMATS))
        if not (self._keeps_versions or may_be_ours or _LOST in listed.key):
            return listed
        try:
            found = await self._store.look(listed.url)
        except (InvalidKey, Forbidden):
            return listed  # intake reports it, once
        if found is None and _LOST in listed.key:
            log.warning("cannot pick up the upload %s: the server's list cannot show its name", listed.url)
        if found is None or OURS in found.labels:
            return None
        return msgspec.structs.replace(listed, etag=found.version.etag, version=found.version.id)
