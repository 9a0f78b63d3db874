"""The job behind a request that waits for it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, Final

from aiohttp import web
from msgspec.structs import replace

from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from v2t_stream.errors import V2TError
from v2t_stream.host import tasks
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.following import states
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.operations import cancel
from v2t_stream.jobs.state import Job
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import flag
from v2t_stream.serve.spool import Upload
from v2t_stream.serve.submitting import submitted

log = logging.getLogger(__name__)

KEEP: Final = "X-V2T-Keep"  # a header: the job goes on if the client goes away
_PATIENCE: Final = 10.0  # seconds that cancelling may take; the broker may be away
_INPUT: Final = ("intake", "download", "convert")  # the stages that fail for what a client has sent
_ENOUGH: Final = {"x-should-retry": "false"}  # OpenAI's clients would send it all again, and v2t has tried enough


class Work:
    """A job that a request waits for. Made by `work`."""

    def __init__(self, request: web.Request, id_: str) -> None:
        self._app = request.app
        self.id = id_
        self.job = Job(id_)  # as last seen

    async def states(self) -> AsyncGenerator[Job]:
        """The job after each of its facts until it ends. Raises Problem if it ends without a transcript."""
        async with contextlib.aclosing(states(self._app[PIPELINE].connection, self.id)) as seen:
            async for job in seen:
                self.job = job
                yield job
        if self.job.state != "completed":
            raise failure(self.job)

    @contextlib.asynccontextmanager
    async def news(self) -> "AsyncGenerator[News]":
        """Follow it during the block, so that a reader may stop waiting and go on later."""
        news = News(self.states())
        try:
            yield news
        finally:
            await tasks.end(news.following)

    async def end(self) -> Transcript:
        """Wait for what was heard. Raises Problem if the job ends without a transcript, and StoreError."""
        async for _ in self.states():
            pass
        return await self.transcript()

    async def transcript(self) -> Transcript:
        """What was heard, when the job is done. Raises StoreError.

        It may be the work of somebody else's job, of which this client need not know.
        """
        record = await stored(self._app[PIPELINE].store, self.job.transcript)
        return replace(record, job=self.job.id)

    async def cancel(self) -> None:
        """Cancel it, wherever it goes on."""
        pipeline = self._app[PIPELINE]
        job = await read(pipeline.connection, self.id)
        while job.moved:
            job = await read(pipeline.connection, job.moved)
        # A server that stops ends its connections itself, perhaps before it says so.
        if not (job.ended or self._app[LEAVING].is_stopping):
            await cancel(pipeline.connection, pipeline.store, job)


@contextlib.asynccontextmanager
async def work(request: web.Request, wish: SubmitRequest) -> AsyncGenerator[Work]:
    """Submit a job for the block, whose end before the job's cancels it, unless the client wants to keep it.

    So does a client that goes away, which ends the block. A server that stops cancels nothing.
    """
    keeps = flag({KEEP: request.headers.get(KEEP, "false")}, KEEP)
    submitting = asyncio.create_task(submitted(request, wish))
    mine = None
    try:
        # What the broker may have stored already cannot be taken back, so a client that goes away waits for its id.
        mine = Work(request, await asyncio.shield(submitting))
        yield mine
    finally:
        failed = submitting.done() and submitting.exception()
        if not (failed or keeps or (mine and mine.job.ended)):
            request.app[LEAVING].add(_leave(request, submitting))


async def _leave(request: web.Request, submitting: asyncio.Task[str]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await Work(request, await submitting).cancel()
    except (V2TError, Problem, TimeoutError) as error:  # it has just ended, or goes on, which harms nobody
        log.info("the job of a client that went away was not cancelled: %s", error)


@contextlib.asynccontextmanager
async def taken(request: web.Request, file: Upload | None) -> AsyncGenerator[None]:
    """Remove the file from the store if the block, which checks the request, fails."""
    try:
        yield
    except BaseException:
        if file:
            request.app[LEAVING].add(_remove(request, file))
        raise


async def _remove(request: web.Request, file: Upload) -> None:
    with contextlib.suppress(V2TError):  # it expires by itself
        await request.app[PIPELINE].store.delete(file.key)


def failure(job: Job) -> Problem:
    """What a client hears of a job that ended without a transcript."""
    if job.state == "cancelled":
        return Problem(409, f"job {job.id} was cancelled: send the file again", code="job_cancelled", **_ENOUGH)
    is_input = job.failed is not None and job.failed.stage in _INPUT
    return Problem(
        400 if is_input else 500,
        f"job {job.id} failed: {job.reason}",
        param="file" if is_input else None,
        code="job_failed",
        **_ENOUGH,
    )


class News:
    """What happens to a job meanwhile. Made by `Work.news`."""

    def __init__(self, states: AsyncIterator[Job]) -> None:
        self._states = states
        self._is_new = asyncio.Event()
        self.following = asyncio.create_task(self._follow())
        self.following.add_done_callback(self._end)

    def _end(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled():
            following.exception()  # a reader that has gone does not ask for it
        self._is_new.set()

    async def _follow(self) -> None:
        async for _ in self._states:
            self._is_new.set()

    async def more(self) -> bool:
        """Wait for news; false when the job is done. Raises Problem if it ends without a transcript."""
        if not self.following.done():
            await self._is_new.wait()
            self._is_new.clear()
        if self.following.done():
            self.following.result()
            return False
        return True


class Leaving:
    """What is still to be done for clients that have gone, while the server runs."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        if self.is_stopping:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, _: web.Application) -> None:
        self.is_stopping = True

    async def end(self, _: web.Application) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
        await tasks.end(*self._tasks)


LEAVING: Final = web.AppKey("leaving", Leaving)


def set_up(app: web.Application) -> None:
    """Prepare an application for such jobs."""
    leaving = app[LEAVING] = Leaving()
    app.on_shutdown.append(leaving.stop)
    app.on_cleanup.append(leaving.end)
