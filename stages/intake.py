"""Intake: makes jobs of what people send to `v2t.submit` and MinIO sends to `v2t.bucket`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec

from schemas.events import Failed
from schemas.message import Message, decode_as
from schemas.notification import BUCKET_SUBJECT, Notification, Upload
from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject, StoreAway, StoreError
from v2t_stream.jobs import links
from v2t_stream.jobs.copies import latest_job, restore_copies
from v2t_stream.jobs.submission import check, check_fleet, parse, submitted
from v2t_stream.jobs.uploads import is_wanted, noted, request_of
from v2t_stream.runtime.stage import Resources, Submission
from v2t_stream.store.protocol import BucketStore
from v2t_stream.text import one_line
from v2t_stream.topology.ids import upload_job_id
from v2t_stream.topology.stages import stage_row

_SHOWN: Final = 4096  # characters of an upload's address, which may be longer than a fact should be


class Intake:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("intake")
        self._connection = resources.connection
        self._store = resources.store
        self._settings = resources.settings

    async def process(self, message: Submission) -> AsyncGenerator[Message, bool | None]:
        """Raises Reject with the sentence that the user reads in the job's status."""
        if message.subject != BUCKET_SUBJECT:
            request = parse(message.data)
            check(request)
            await check_fleet(self._connection, request)
            url, link = await links.keep(self._store, message.job, request.url) if request.url else (None, "")
            begun = submitted(message.job, msgspec.structs.replace(request, url=url), link)
            if request.callback_url:
                callback, whole = await links.keep_callback(self._store, message.job, request.callback_url)
                begun = msgspec.structs.replace(begun, callback=callback, callback_link=whole)
            yield begun
            return
        failures: list[StoreError] = []
        for upload in self._announced(message.data):
            if not isinstance(self._store, BucketStore):
                raise Reject("an upload arrived, but MINIO_ENDPOINT is not set here: set it for the whole fleet")
            try:
                async with aclosing(self._taken(self._store, upload)) as facts:
                    async for fact in facts:
                        yield fact
            except StoreAway:
                raise
            except StoreError as error:
                failures.append(error)  # the other uploads of the message must not wait for this one
        if failures:
            raise failures[0]

    def _announced(self, data: bytes) -> list[Upload]:
        try:
            created = decode_as(Notification, data).created()
        except msgspec.DecodeError as error:
            raise Reject(f"a bucket's notification cannot be read: {error}") from error
        return [upload for upload in created if is_wanted(self._settings, upload)]

    async def _taken(self, store: BucketStore, upload: Upload) -> AsyncGenerator[Message, bool | None]:
        """The job of an upload. It is always the same, so announcing the upload again changes nothing."""
        job, is_known = await latest_job(self._connection, upload)
        if is_known:
            await restore_copies(self._connection, store, self._settings, upload)
            return
        request = SubmitRequest(url=one_line(upload.url, _SHOWN))
        try:
            found = await noted(store, upload)
            if found.is_ours:
                return
            if found.upload != upload:  # as in a list of the bucket
                job, is_known = await latest_job(self._connection, found.upload)
            if is_known or not (found.is_there or job == upload_job_id(upload)):
                return  # announced again, and still replaced
            upload = found.upload
            request = request_of(found)
            await check_fleet(self._connection, request)
        except Reject as error:
            yield Failed(job=job, stage="intake", reason=str(error))  # first, so that no stage begins it
        request = msgspec.structs.replace(request, title=request.title or upload.key)
        yield msgspec.structs.replace(submitted(job, request), version=upload.exactly)

    async def close(self) -> None:
        """Nothing to close."""
