"""An engine in a process of its own.

So a crash or a hang in native code costs one call and not the worker, the event loop never waits for the engine, two
engines never share an OpenMP runtime (they stall each other), and the memory of a model is given back for good.

Not multiprocessing: its children import the program that started them, its pools hide the process that must be killed
when it hangs, and at exit they wait for it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Self

import msgspec
import numpy as np

from schemas.options import Request
from stages.engine_child import LENGTH, Call, Done, Failed
from v2t_stream.devices import Device
from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)
_ANSWER_LIMIT = 16 << 20  # bytes an answer may wait in the reader; it is a few thousand
_DYING = 5.0  # seconds a process may take to end once its pipes are closed
_decode = msgspec.msgpack.Decoder(Done | Failed).decode


class EngineDied(Retry):
    """The process ended or was given up in the middle of a call: perhaps by what one of the chunks holds."""


class EngineHost:
    """One engine on one device. Calls wait for their turn; the process starts with the first of them.

    After a crash, a hang that was killed or an error of unknown kind, the next call begins with a fresh process.
    """

    def __init__(self, engine: str, *, device: Device, threads: int) -> None:
        self._command = [sys.executable, "-P", "-m", "stages.engine_child", engine, device, str(threads)]
        self._engine = engine
        self._threads = threads
        self._process: Process | None = None
        self._doomed = False  # the process was killed, or is not to be trusted
        self._closed = False
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """One result for each chunk of at most 30 s, in the chunk's own time.

        Raises Reject where it can never be done, and Retry where it may be later, as after a crash. Cancelling it
        kills the process, for there is no other way to stop an engine.
        """
        if not chunks:
            return []
        sound = [np.ascontiguousarray(chunk, np.float32) for chunk in chunks]
        return await self._call(Call(request=request, chunks=tuple(chunk.size for chunk in sound)), sound)

    async def warm(self, model: str) -> None:
        """Load `model`, downloading it where need be, ahead of the first chunk. Raises Reject or Retry."""
        await self._call(Call(request=Request(model=model)), [])

    def kill(self) -> None:
        """End the process now; the call in hand raises Retry."""
        if self._process is not None:
            self._doomed = True
            if self._process.returncode is None:
                self._process.kill()

    async def close(self) -> None:
        """End the process and wait until it is gone. The call in hand and those that wait raise Retry."""
        self._closed = True
        self.kill()
        async with self._turn:
            if self.pid is not None:  # the call in hand had it started meanwhile
                self.kill()
            await self._bury()

    @property
    def pid(self) -> int | None:
        """The process's number while there is one."""
        return None if self._process is None or self._doomed else self._process.pid

    async def _call(self, call: Call, sound: Sequence[Samples]) -> list[Transcription]:
        async with self._turn:
            process = await self._living()
            try:
                answer = _decode(await _exchange(process, call, sound))
            except (OSError, asyncio.IncompleteReadError):
                end = await self._autopsy(process)
                raise EngineDied(
                    f"the engine {self._engine} {end} on {len(sound)} chunks with the model {call.request.model!r}; "
                    "the next call starts it afresh"
                ) from None
            except BaseException:  # cancelled: an engine that computes on would only be in the way
                self.kill()
                raise
            if isinstance(answer, Done):
                return list(answer.transcriptions)
            if answer.kind == "reject":
                raise Reject(answer.text)
            if answer.kind == "retry":
                raise Retry(answer.text, answer.delay)
            self.kill()  # what it holds may be what others wait for; after an unknown error it may be of no more use
            if answer.kind == "full":
                raise Full(answer.text)
            _log.debug("%s", answer.trace)
            raise EngineDied(f"the engine {self._engine} failed with the model {call.request.model!r}: {answer.text}")

    async def _living(self) -> Process:
        """The process, started where there is none. Raises Retry where it is to be closed, also if it was just now."""
        if self._process is not None and (self._doomed or self._process.returncode is not None):
            await self._bury()
        self._check_open()
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                env=_environment(self._threads),
                limit=_ANSWER_LIMIT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
            self._check_open()
        return self._process

    def _check_open(self) -> None:
        if self._closed:
            raise Retry(f"the engine {self._engine} is being stopped on this machine", delay=0)

    async def _autopsy(self, process: Process) -> str:
        """How the process ended whose pipes are closed, in words."""
        self._doomed = True
        try:
            # Not killed at once: asyncio would take note of its end twice, and lose how it ended.
            await asyncio.wait_for(process.wait(), _DYING)
        except TimeoutError:
            process.kill()
        return _end(await _ended(process))

    async def _bury(self) -> None:
        process, self._process, self._doomed = self._process, None, False
        if process is not None:
            await _ended(process)


async def _ended(process: Process) -> int:
    """Its exit code, when it has one."""
    code = await process.wait()
    assert process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
    # Where that pipe broke, its end holds the same error, and Python 3.11.2 complains if nobody takes it from there.
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_DYING):
            await process.stdin.wait_closed()
    return code


async def _exchange(process: Process, call: Call, sound: Sequence[Samples]) -> bytes:
    """Send a call and its samples, and wait for the answer."""
    assert process.stdin is not None  # noqa: S101  for the type checker: both are pipes
    assert process.stdout is not None  # noqa: S101  as above
    frame = msgspec.msgpack.encode(call)
    process.stdin.write(LENGTH.pack(len(frame)) + frame)
    for chunk in sound:
        process.stdin.write(chunk.data.cast("B"))
        await process.stdin.drain()  # so that no more than one chunk is copied at a time
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return await process.stdout.readexactly(length)


def _environment(threads: int) -> dict[str, str]:
    """What libraries read when they load: OpenMP's threads must sleep when idle, and not spin on shared cores."""
    return {
        **os.environ,
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",  # the same for Intel's and LLVM's OpenMP
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, for spectrograms alone
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def _end(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (perhaps for want of memory)" if name == "SIGKILL" else "")
