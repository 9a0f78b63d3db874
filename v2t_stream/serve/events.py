"""Facts as they happen, by server-sent events (html.spec.whatwg.org, "Server-sent events")."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from v2t_stream.errors import V2TError
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import brief, short
from v2t_stream.serve.board import BOARD, Board
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.described import described
from v2t_stream.serve.facts import event_of
from v2t_stream.serve.fresh import Kept
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import job_on_board
from v2t_stream.serve.listening import Listener
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.serve.sse import Stream, encoded
from v2t_stream.serve.tail import Tail
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import facts_of

routes = web.RouteTableDef()

_EVERY: Final = 0.25  # seconds between two bunches of changed jobs
_RATE: Final = 512 << 10  # bytes a second, as a list of thousands of entries changes all the time
_SHOWN: Final = 200  # jobs that a new listener hears of first
_PAGE: Final = 64  # facts read at once; each client that is slow holds as many
_AT_ONCE: Final = 16  # pages
_LAGS: Final = 7  # times that a replica which lags behind is asked again
_LAG: Final = 0.01  # seconds until then, doubled each time
_KEPT: Final = 1000  # encoded summaries


class News:
    """What the events of all clients share."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._told: Kept[bytes] = Kept(_KEPT)
        self.reading = asyncio.Semaphore(_AT_ONCE)

    def of(self, job: Job) -> bytes:
        """A job that changed, as an event."""
        return self._told.get(job.id, (self._board.readings, job.changes), lambda: _told(job))


NEWS: Final = web.AppKey("news", News)


def _told(job: Job) -> bytes:
    told = {"id": job.id, "removed": True} if job.removed else brief(job)
    return encoded("job", msgspec.json.encode(told))


@routes.get("/v1/jobs/{job}/events")
@described(
    headers={"Last-Event-ID": Annotated[str, Meta(description="the last event that was read")]},
    media=("text/event-stream",),
)
async def of_job(request: web.Request) -> web.StreamResponse:
    """Tell the facts of a job, from the first or from `Last-Event-ID` on, until it has ended."""
    checked(request)
    after = _last(request)
    job = await job_on_board(request)
    least = 0
    if job.ended and after >= _newest(job):
        # An EventSource asks again when the stream ends, and 204 makes it stop. The board may not know of a retry yet.
        later, _ = await request.app[PIPELINE].connection.some(JOBS, facts_of(job.id), after, 1)
        if not later:
            return web.Response(status=204)
        least = later[0].sequence
    async with Stream(request) as stream:
        await _Following(request, stream, job.id, after, least).run()
    return stream.response


def _last(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "0")
    if not text.isascii() or not text.isdecimal():
        raise Problem(400, f"Last-Event-ID {text!r} is not a number: send the id of an event of this job")
    return int(text)


def _newest(job: Job) -> int:
    """The sequence of its latest fact."""
    return max(job.sequences.values(), default=0)


class _Following:
    """One client that follows one job."""

    def __init__(self, request: web.Request, stream: Stream, id_: str, after: int, least: int) -> None:
        self._board = request.app[BOARD]
        self._news = request.app[NEWS]
        self._connection = request.app[PIPELINE].connection
        self._stream = stream
        self._id = id_
        self._after = after  # the sequence of the last fact that was sent
        self._least = least  # what the board must have reached to know whether the job has ended

    async def run(self) -> None:
        """Send the facts, for a list also its entries, and the end."""
        with self._board.listeners.to_facts(self._id) as tail:
            job = await self._facts(tail)
        if job.listed and not job.ended:
            job = await self._entries()
        self._after = max(self._after, _newest(job))
        told = {"state": job.state} | ({"moved": job.moved} if job.moved else {})
        await self._stream.send("end", msgspec.json.encode(told).decode(), id_=self._after)

    async def _facts(self, tail: Tail) -> Job:
        """Until the job has ended or turns out to be a list; returns it then."""
        readings = 0
        while True:
            bell = tail.bell()
            if readings != self._board.readings:
                readings = self._board.readings
                await self._check_same_stream()
            while (events := tail.after(self._after)) is None:
                await self._history(tail)
            if events:
                await self._stream.write(b"".join(event.text for event in events))
                self._after = events[-1].sequence
                continue
            job = self._board.find(self._id)
            if job and (job.ended or job.listed) and self._board.listeners.reached >= self._least:
                return job
            await bell.wait()

    async def _history(self, tail: Tail) -> None:
        """Send what only the stream has."""
        floor, job = tail.floor, self._board.find(self._id)
        newest = min(floor, _newest(job)) if job else 0
        for lag in range(_LAGS):
            while await self._page():
                pass
            if self._after >= newest:
                break
            await asyncio.sleep(_LAG * 2**lag)
        self._after = max(self._after, floor)

    async def _page(self) -> bool:
        """Send the next facts in the stream; returns whether there are more."""
        async with self._news.reading:
            facts, has_more = await self._connection.some(JOBS, facts_of(self._id), self._after, _PAGE)
        if events := [event for event in map(event_of, facts) if event]:
            await self._stream.write(b"".join(event.text for event in events))
        if facts:
            self._after = facts[-1].sequence
        return has_more

    async def _check_same_stream(self) -> None:
        """Begin with the first fact if the broker came back with a younger stream, which counts anew."""
        if self._after and self._after > (await self._connection.api(f"STREAM.INFO.{JOBS}"))["state"]["last_seq"]:
            self._after = 0

    async def _entries(self) -> Job:
        """Tell how the entries of a list change until all have ended: each has events of its own."""
        with self._board.listeners.to_all(of=self._id) as listener:
            listener.note((self._id,))
            async for changed in _bunches(listener):
                job = self._board.find(self._id)
                if not job:
                    raise V2TError(f"the facts of job {self._id} have expired")
                entries = job.parts if self._id in changed else filter(None, map(self._board.find, changed))
                for some in _in_pages(entries):
                    told = (encoded("job", msgspec.json.encode(short(each))) for each in some)
                    await self._stream.write(b"".join(told))
                if job.ended:
                    return job
        raise AssertionError  # bunches never end


@routes.get("/v1/events")
@described(media=("text/event-stream",))
async def of_all(request: web.Request) -> web.StreamResponse:
    """Tell of all recent jobs, then of each that changes, until the client goes away."""
    checked(request)
    board = request.app[BOARD]
    await board.ready()
    async with Stream(request) as stream:
        with board.listeners.to_all() as listener:
            seen = (job for job in board.newest_first() if caller(request).sees(job))
            await _tell(request, stream, list(itertools.islice(seen, _SHOWN)))
            await stream.send("ready", "{}")
            while True:
                jobs = [job for id_ in await listener.changed() if (job := board.jobs.get(id_))]
                sent = await _tell(request, stream, jobs)
                await asyncio.sleep(max(_EVERY, sent / _RATE))
    return stream.response


async def _tell(request: web.Request, stream: Stream, jobs: Iterable[Job]) -> int:
    """Returns how many bytes it sent."""
    sent = 0
    for some in _in_pages(job for job in jobs if job.sequences and caller(request).sees(job)):
        events = b"".join(map(request.app[NEWS].of, some))
        await stream.write(events)
        sent += len(events)
    return sent


def _in_pages(jobs: Iterable[Job]) -> Iterable[list[Job]]:
    left = iter(jobs)
    return iter(lambda: list(itertools.islice(left, _PAGE)), [])


async def _bunches(listener: Listener) -> AsyncIterator[list[str]]:
    while True:
        yield await listener.changed()
        await asyncio.sleep(_EVERY)
