"""What a user can ask for. Each action returns a sentence to show, or raises V2TError with one."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from schemas.requests import SubmitRequest
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, Reject, SettingsError, V2TError
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs import dead_letters, media, operations
from v2t_stream.jobs.assembly import assemble, stored
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.jobs.formats import render
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.once import message_ids
from v2t_stream.jobs.redrive import redrive
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import check, check_fleet, of_fields, store_file, submit
from v2t_stream.models import problem
from v2t_stream.runtime.set_up import check_store
from v2t_stream.runtime.stores import open_store
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.text import one_line, path_text
from v2t_stream.topology import queues
from v2t_stream.topology.queues import Queue


class Actions:
    """The actions on one broker."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    async def submit(self, requests: Sequence[SubmitRequest]) -> str:
        """Send checked requests with the same options; upload `media` first if it is a path on this machine."""
        jobs = []
        with contextlib.suppress(Denied):  # some roles may not see the fleet; then intake refuses it
            await check_fleet(self._connection, requests[0])
        for request, message_id in zip(requests, message_ids(self._settings.home, requests), strict=True):
            job, _ = await submit(self._connection, await self._uploaded(request), message_id=message_id)
            jobs.append(job)
        return f"submitted job {jobs[0]}" if len(jobs) == 1 else f"submitted {len(jobs)} jobs"

    async def _uploaded(self, request: SubmitRequest) -> SubmitRequest:
        if request.media is None:
            return request
        path = Path(request.media)
        await check_store(self._connection, self._settings)
        key = await store_file(open_store(self._connection, self._settings), path)
        return msgspec.structs.replace(request, media=key, title=path_text(path.name))

    async def cancel(self, job_id: str) -> str:
        await operations.cancel(self._connection, await self._store(), await self._job(job_id))
        return f"cancelled job {job_id}"

    async def _store(self) -> ObjectStore | None:
        """None if the settings here do not match the store in use: a monitor does not need them."""
        try:
            await check_store(self._connection, self._settings)
        except SettingsError:
            return None
        return open_store(self._connection, self._settings)

    async def retry(self, job_id: str, *, chunk: int | None = None, model: str | None = None) -> str:
        if model and (reason := problem(model, None)):
            raise V2TError(reason)
        job = await self._job(job_id)
        if job.listed:
            entries = await operations.retry_list(self._connection, job, model=model)
            return f"retrying {entries} of {len(job.children)} entries"
        await operations.retry(self._connection, job, chunk=chunk, model=model)
        return f"retrying job {job_id}" if chunk is None else f"retrying chunk {chunk}"

    async def redrive(self, letter: Dead) -> str:
        job = await redrive(self._connection, await self._store(), letter, self._settings.home)
        return f"retrying job {job}" if job else "submitted it again"

    async def remove(self, letter: Dead) -> str:
        await dead_letters.remove(self._connection, letter.number)
        return f"discarded dead letter {letter.number}"

    async def pause_or_resume(self, queue: Queue) -> str:
        if queue.paused:
            await queues.resume(self._connection, queue.name)
            return f"resumed {queue.name}"
        await queues.pause(self._connection, queue.name)
        return f"paused {queue.name}: work in progress is finished"

    async def transcript(self, job_id: str, format_: str) -> str:
        """The transcript, as far as it goes."""
        job = await self._job(job_id)
        if job.completed and (job.completed.of or job.corrected) and (store := await self._store()):
            return render(await stored(store, job.transcript), format_)  # its words are not in its own facts
        if job.completed and job.completed.of:
            transcript = job.completed.transcript
            job = await self._job(job.completed.of)
            job.go_back_to(transcript)
        if job.corrected:
            raise V2TError(f"job {job_id} was corrected, and the files of this broker cannot be read from here")
        if not job.chunks and not job.completed:
            raise V2TError(f"job {job_id} has no words to export yet")
        return await in_thread(lambda: render(assemble(job), format_))  # seconds for ten hours of speakers

    async def has_media(self, job: Job) -> bool:
        """Whether the job's media is stored, as far as can be seen from here."""
        store = await self._store()
        return bool(store and job.downloaded and await store.size(job.downloaded.media) is not None)

    async def media(self, job: Job, path: Path) -> None:
        """Write the job's media to `path`."""
        store = await self._store()
        if store is None:
            raise V2TError("the media is in a store that the settings here do not name: set MINIO_ENDPOINT")
        await media.fetch(store, job, path)

    async def _job(self, job_id: str) -> Job:
        job = await read(self._connection, job_id)
        if not job.sequences:
            raise V2TError(f"job {job_id!r} no longer exists")
        return job


class Wish(NamedTuple):
    """What was typed into the form that submits."""

    lines: str
    options: Mapping[str, str | bool]  # by their names in `v2t_stream.jobs.options`
    files: bool  # whether a line may be a path on this machine


def requests_of(wish: Wish) -> list[SubmitRequest]:
    """A checked request for each line that is not empty. Raises Reject, which says what is wrong with which line."""
    lines = list(dict.fromkeys(line.strip() for line in wish.lines.splitlines() if line.strip()))
    if not lines:
        raise Reject("enter a link, or several, one per line")
    typed = {name: value.strip() if isinstance(value, str) else value for name, value in wish.options.items()}
    options: dict[str, Any] = {name: value for name, value in typed.items() if value}
    if "language" in options:
        options["language"] = options["language"].lower()
    if options.get("accelerator") == "remote":
        options["remote"] = True  # choosing it here is permission
    request = of_fields(options)
    return [_request(line, request, files=wish.files) for line in lines]


def _request(line: str, request: SubmitRequest, *, files: bool) -> SubmitRequest:
    path = Path(line).expanduser()
    if files and "://" not in line:
        if not path.is_file():
            raise Reject(f"{one_line(line, 60)!r} is neither a link nor a file on this machine")
        check(msgspec.structs.replace(request, media="media/"))
        return msgspec.structs.replace(request, media=str(path))
    request = msgspec.structs.replace(request, url=line)
    check(request)
    return request
