"""The jobs that a command has sent. If the command is interrupted, they end with it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

import click

from schemas.requests import SubmitRequest
from v2t_stream.errors import V2TError
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.operations import cancel
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.session import Session
from v2t_stream.text import one_line
from v2t_stream.units import counted

_PATIENCE: Final = 10.0  # seconds that cancelling may take; the broker may be away
_AT_ONCE: Final = 16
_SHOWN: Final = 3  # job ids in a sentence


class Started:
    """Submits for a command, and remembers what is its own. Made by `started`."""

    def __init__(self, pipeline: Session) -> None:
        self._pipeline = pipeline
        self._sending: dict[asyncio.Task[tuple[str, bool]], SubmitRequest] = {}
        self._requests: dict[str, SubmitRequest] = {}  # by job

    async def submit(self, request: SubmitRequest, *, message_id: str = "") -> tuple[str, bool]:
        """See jobs.submission.submit. A job that was there before is not ours."""
        sending = asyncio.create_task(submit(self._pipeline.connection, request, message_id=message_id))
        self._sending[sending] = request
        # An interruption cannot take back what the broker may have stored already, so it waits for the job's id.
        job, is_known = await asyncio.shield(sending)
        self._note(sending)
        return job, is_known

    def _note(self, sending: asyncio.Task[tuple[str, bool]]) -> None:
        request = self._sending.pop(sending)
        job, is_known = sending.result()
        if not is_known:
            self._requests[job] = request

    async def cancel(self) -> None:
        """Cancel what has not ended, and say so."""
        outcomes: dict[str, str] = {}  # by job: empty if it is cancelled, otherwise why it is not
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._hear_of_the_last()
                outcomes.update(dict.fromkeys(self._requests, "the broker does not answer"))
                limit = asyncio.Semaphore(_AT_ONCE)
                await asyncio.gather(*(self._cancel(job, limit, outcomes) for job in self._requests))
        cancelled = [job for job, why in outcomes.items() if not why]
        left = {job: why for job, why in outcomes.items() if why}
        with contextlib.suppress(OSError):  # the terminal is gone
            if cancelled:
                click.echo(f"v2t: cancelled {_named(cancelled)}", err=True)
            if left:
                why = one_line(next(iter(left.values())))
                click.echo(f"v2t: {_named(list(left))} could not be cancelled ({why}): use v2t job cancel", err=True)

    async def _hear_of_the_last(self) -> None:
        """Wait for the answers to what was just being submitted."""
        if self._sending:
            await asyncio.wait(self._sending)
        for sending, request in list(self._sending.items()):
            if sending.exception() is None:
                self._note(sending)
            else:
                await self._remove(request)

    async def _cancel(self, job: str, limit: asyncio.Semaphore, outcomes: dict[str, str]) -> None:
        async with limit:
            try:
                state = await read(self._pipeline.connection, job)
                while state.moved:
                    state = await read(self._pipeline.connection, state.moved)
                if state.ended:
                    del outcomes[job]
                    return
                await cancel(self._pipeline.connection, self._pipeline.store, state)
                outcomes[job] = ""
                if not state.submitted:  # so no stage knows its media
                    await self._remove(self._requests[job])
            except V2TError as error:
                outcomes[job] = str(error)

    async def _remove(self, request: SubmitRequest) -> None:
        """Remove the file that was sent for it."""
        if request.media:
            with contextlib.suppress(V2TError):  # it expires by itself
                await self._pipeline.store.delete(request.media)


@contextlib.asynccontextmanager
async def started(pipeline: Session) -> AsyncGenerator[Started]:
    """The jobs that a command sends in this block, which are cancelled if the block is."""
    mine = Started(pipeline)
    task = asyncio.current_task()
    try:
        yield mine
    except BaseException:
        if task and task.cancelling():  # also where the terminal is gone, which makes another error of it
            await mine.cancel()
        raise


def _named(jobs: list[str]) -> str:
    """Such as "job a", or "5 jobs (a, b, c …)"."""
    if len(jobs) == 1:
        return f"job {jobs[0]}"
    more = " …" if len(jobs) > _SHOWN else ""
    return f"{counted(len(jobs), 'job')} ({', '.join(jobs[:_SHOWN])}{more})"
