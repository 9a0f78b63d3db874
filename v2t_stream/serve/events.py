"""Facts as they happen, by server-sent events (html.spec.whatwg.org, "Server-sent events")."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiohttp import web

from schemas.events import ChunkDone, Tries
from schemas.message import Message
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import short, summary
from v2t_stream.serve.board import BOARD, Listener
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.gate import caller
from v2t_stream.serve.known import job_of
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked
from v2t_stream.serve.sse import Stream
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import decode, facts_of

routes = web.RouteTableDef()

_EVERY: Final = 0.25  # seconds between two bunches of changed jobs
_SHOWN: Final = 500  # jobs that a new listener hears of first


@routes.get("/v1/jobs/{job}/events")
async def of_job(request: web.Request) -> web.StreamResponse:
    """Tell the facts of a job, from the first or from `Last-Event-ID` on, until it has ended."""
    checked(request)
    job, after = await job_of(request), _last(request)
    # An EventSource asks again when the stream ends, and 204 makes it stop.
    if job.ended and after >= max(job.sequences.values()):
        return web.Response(status=204)
    async with Stream(request) as stream:
        state = await _of_one(request, stream, Job(job.id, words=False), after)
        if state.listed:
            state = await _of_list(request, stream, state)
        await stream.send("end", msgspec.json.encode({"state": state.state}).decode())
    return stream.response


def _last(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "0")
    if not text.isascii() or not text.isdecimal():
        raise Problem(400, f"Last-Event-ID {text!r} is not a number: send the id of an event of this job")
    return int(text)


async def _of_one(request: web.Request, stream: Stream, state: Job, after: int) -> Job:
    """Tell its facts after a sequence until it has ended or turns out to be a list; returns its state then."""
    has_all = False
    async with contextlib.aclosing(request.app[PIPELINE].connection.watch(JOBS, facts_of(state.id))) as facts:
        async for stored in facts:
            has_all = has_all or stored is None
            if stored:
                state.apply(stored)
                if stored.sequence > after:
                    await _tell(stream, stored)
            if has_all and (state.ended or state.listed):
                break
    return state


async def _of_list(request: web.Request, stream: Stream, state: Job) -> Job:
    """Tell how its entries change until all have ended: each has events of its own."""
    board, told = request.app[BOARD], dict[str, int]()
    await board.ready()
    with board.listening() as listener:
        listener.note(state.id)
        async for changed in _bunches(listener):
            now = board.jobs.get(state.id)
            if now is None or state.id not in changed:
                continue
            for entry in now.parts:
                newest = max(entry.sequences.values(), default=0)
                if newest > told.get(entry.id, 0):
                    told[entry.id] = newest
                    await stream.send("job", msgspec.json.encode(short(entry)).decode())
            if now.ended:
                return now
    return state


async def _tell(stream: Stream, stored: Stored) -> None:
    try:
        fact = decode(stored.subject, stored.data)
    except msgspec.DecodeError:  # damaged, or of a newer release
        return
    if fact is None or isinstance(fact, Tries):  # those are for workers
        return
    data = msgspec.json.encode(public(fact)).decode()
    await stream.send(str(type(fact).__struct_config__.tag), data, id_=stored.sequence)


def public(fact: Message) -> dict[str, Any]:
    """A fact without what only the pipeline needs, such as the voices in a chunk."""
    if isinstance(fact, ChunkDone):
        fact = msgspec.structs.replace(fact, windows=())
    told: dict[str, Any] = msgspec.to_builtins(fact)
    told.pop("link", None)
    return told


@routes.get("/v1/events")
async def of_all(request: web.Request) -> web.StreamResponse:
    """Tell of all recent jobs, then of each that changes, until the client goes away."""
    checked(request)
    board = request.app[BOARD]
    await board.ready()
    async with Stream(request) as stream:
        with board.listening() as listener:
            newest = sorted(board.jobs, key=lambda id_: board.jobs[id_].started_at or 0.0)[-_SHOWN:]
            await _tell_of(request, stream, newest)
            await stream.send("ready", "{}")
            async for changed in _bunches(listener):
                await _tell_of(request, stream, changed)
    return stream.response


async def _tell_of(request: web.Request, stream: Stream, ids: list[str]) -> None:
    board = request.app[BOARD]
    for id_ in ids:
        job = board.jobs.get(id_)
        if job and job.sequences and caller(request).sees(job):
            told = {"id": job.id, "removed": True} if job.removed else summary(job)
            await stream.send("job", msgspec.json.encode(told).decode())


async def _bunches(listener: Listener) -> AsyncIterator[list[str]]:
    while True:
        yield await listener.changed()
        await asyncio.sleep(_EVERY)
