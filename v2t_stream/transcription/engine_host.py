"""An engine in a process of its own.

A crash or a hang in native code then costs one call instead of the worker, the event loop never waits for the engine,
two engines never share an OpenMP runtime (they stall each other), and the memory of a model is really freed.

This is not multiprocessing: its children import the program that started them, and its pools hide the process that must
be killed when it hangs, and wait for it at exit.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Self

import numpy as np

from schemas.options import Device, Request
from v2t_stream.errors import Full, NoDemo, Reject, Retry
from v2t_stream.transcription.engine_child import Done, Failed
from v2t_stream.transcription.engine_process import Ended, EngineProcess
from v2t_stream.transcription.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)


class EngineDied(Retry):
    """The process ended, or had to be killed, during a call: perhaps because of what one of the chunks holds."""


class EngineHost:
    """One engine on one device. Calls beyond `calls` wait for their turn; the first call starts the process.

    After a crash, a killed hang or an unknown error, the next call starts a fresh process.
    """

    def __init__(self, engine: str, *, device: Device, threads: int) -> None:
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "v2t_stream.transcription.engine_child",
            engine,
            device,
            str(threads),
        ]
        self._engine = engine
        self._threads = threads
        self._process: EngineProcess | None = None
        self._closed = False
        self._turn = asyncio.Lock()  # for starting the process and writing to it
        self.calls = 1  # how many the engine takes at once, as it said after loading its model
        self._free = asyncio.Semaphore(self.calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """One result for each chunk of at most 30 s, in the chunk's own time.

        Raises Reject if it can never be done, and Retry if it may work later, as after a crash. Cancelling the call
        kills the process, as there is no other way to stop an engine; other calls in it raise EngineDied.
        """
        if not chunks:
            return []
        return await self._call(request, [np.ascontiguousarray(chunk, np.float32) for chunk in chunks])

    async def warm(self, model: str) -> None:
        """Load `model` ahead of the first chunk. Raises Reject or Retry."""
        await self._call(Request(model=model), [])

    def kill(self) -> None:
        """End the process now; the calls in it raise Retry."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the process and wait until it is gone. Calls that run or wait raise Retry."""
        self._closed = True
        self.kill()
        async with self._turn:
            self.kill()  # a call may have started it meanwhile
            await self._bury()

    @property
    def pid(self) -> int | None:
        """The id of the process while there is one."""
        return None if self._process is None or self._process.is_doomed else self._process.pid

    async def _call(self, request: Request, sound: Sequence[Samples]) -> list[Transcription]:
        async with self._free:
            process, answer = await self._sent(request, sound)
            try:
                result = await answer
            except Ended as end:
                raise EngineDied(
                    f"the engine {self._engine} {end} on {len(sound)} chunks with the model {request.model!r}; "
                    "the next call starts it afresh"
                ) from None
            except asyncio.CancelledError:  # an engine that went on computing would be in the way
                process.kill()
                raise
            if isinstance(result, Done):
                self._take_at_once(result.calls)
                return list(result.transcriptions)
            raise self._failure(result, process, request.model)

    async def _sent(
        self, request: Request, sound: Sequence[Samples]
    ) -> "tuple[EngineProcess, asyncio.Future[Done | Failed]]":
        async with self._turn:
            process = await self._living()
            try:
                return process, await process.send(request, sound)
            except BaseException:  # cancelled, with half a call written
                process.kill()
                raise

    def _take_at_once(self, calls: int) -> None:
        if calls != self.calls:
            self.calls = calls
            self._free = asyncio.Semaphore(calls)  # those that wait at the old one come through one by one

    def _failure(self, failed: Failed, process: EngineProcess, model: str) -> Retry | Reject:
        if failed.kind == "no demo":
            return NoDemo(failed.text)
        if failed.kind == "reject":
            return Reject(failed.text)
        if failed.kind == "retry":
            return Retry(failed.text, failed.delay)
        process.kill()  # others may need the memory that it holds, and after an unknown error it may be broken
        if failed.kind == "full":
            return Full(failed.text)
        _log.debug("%s", failed.trace)
        return EngineDied(f"the engine {self._engine} failed with the model {model!r}: {failed.text}")

    async def _living(self) -> EngineProcess:
        """The process, started if need be. Raises Retry if the host was closed, even during the start."""
        if self._process is not None and not self._process.is_usable:
            await self._bury()
        self._check_open()
        if self._process is None:
            self._process = await EngineProcess.start(self._command, threads=self._threads)
            self._check_open()
        return self._process

    def _check_open(self) -> None:
        if self._closed:
            raise Retry(f"the engine {self._engine} is being stopped on this machine", delay=0)

    async def _bury(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.bury()
