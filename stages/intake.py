"""Intake: from what people send to `v2t.submit`, and MinIO to `v2t.bucket`, to jobs."""

from collections.abc import AsyncGenerator

import msgspec

from schemas.events import Failed, Submitted
from schemas.message import Message, decode_as
from schemas.notification import Notification, Upload
from schemas.options import Options
from schemas.requests import SubmitRequest
from v2t_stream import links
from v2t_stream.errors import Reject
from v2t_stream.stage import Resources, Submission
from v2t_stream.submission import check, parse
from v2t_stream.text import one_line, without_secrets
from v2t_stream.topology import BUCKET_SUBJECT, JOBS, stage_row, upload_job_id
from v2t_stream.uploads import is_wanted, request_of


class Intake:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("intake")
        self._connection = resources.connection
        self._store = resources.store
        self._settings = resources.settings

    async def process(self, message: Submission) -> AsyncGenerator[Message]:
        """Raises Reject with the sentence the user reads in the job's status."""
        if message.subject != BUCKET_SUBJECT:
            request = parse(message.data)
            check(request)
            url, link = await links.keep(self._store, message.job, request.url) if request.url else (None, "")
            yield _submitted(message.job, msgspec.structs.replace(request, url=url), link)
            return
        for upload in self._announced(message.data):
            async for fact in self._taken(upload):
                yield fact

    def _announced(self, data: bytes) -> list[Upload]:
        if not self._settings.minio_endpoint:
            raise Reject("an upload was announced, but MINIO_ENDPOINT is not set here: set it for the whole fleet")
        try:
            created = decode_as(Notification, data).created()
        except msgspec.DecodeError as error:
            raise Reject(f"a bucket's notification cannot be read: {error}") from error
        return [upload for upload in created if is_wanted(self._settings, upload)]

    async def _taken(self, upload: Upload) -> AsyncGenerator[Message]:
        """The job of an upload, always the same: announced again, it changes nothing."""
        job = upload_job_id(upload)
        if await self._connection.any_of(JOBS, [Submitted.subject_of(job=job)]):
            return
        try:
            request = await request_of(self._store, upload)
        except Reject as error:
            yield Failed(job=job, stage="intake", reason=str(error))  # first, so that nobody begins it
            request = SubmitRequest(url=upload.url)
        if request:
            yield _submitted(job, msgspec.structs.replace(request, title=request.title or upload.key))

    async def close(self) -> None:
        """Nothing is held."""


def _submitted(job: str, request: SubmitRequest, link: str = "") -> Submitted:
    return Submitted(
        job=job,
        title=one_line(without_secrets(request.title or request.url or request.media or "")),
        url=request.url,
        link=link,
        media=request.media,
        limit=request.limit,
        force=request.force,
        options=Options(**{name: getattr(request, name) for name in Options.__struct_fields__}),
    )
