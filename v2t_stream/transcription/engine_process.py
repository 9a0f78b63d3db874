"""The process of an engine and the calls that run in it."""

import asyncio
import contextlib
import itertools
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from schemas.options import Request
from v2t_stream.transcription.engine_child import LENGTH, Answer, Call, Done, Failed
from v2t_stream.transcription.transcriber import Samples

_ANSWER_LIMIT: Final = 16 << 20  # bytes of an answer that the reader holds; a usual answer has a few thousand
_DYING: Final = 5.0  # seconds that a process has to end after its pipes are closed
_decode = msgspec.msgpack.Decoder(Answer).decode


class Ended(Exception):
    """The process ended during the call; the text says how, as in "was killed by SIGSEGV"."""


class EngineProcess:
    """A running engine. Answers come in any order; when it ends, all outstanding calls raise Ended."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._due: dict[int, asyncio.Future[Done | Failed]] = {}
        self.is_doomed = False  # it was killed, or its pipes are closed
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, command: Sequence[str], *, threads: int) -> Self:
        """Start it. If it cannot load its engine or model, the first call shows that."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                env=environment(threads),
                limit=_ANSWER_LIMIT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it is alive and nobody has killed it."""
        return not self.is_doomed and self._process.returncode is None

    async def send(self, request: Request, sound: Sequence[Samples]) -> "asyncio.Future[Done | Failed]":
        """Send a call and return its answer, to be awaited. One sender at a time; if cancelled, it must kill this."""
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        number = next(self._numbers)
        answer = self._due[number] = asyncio.get_running_loop().create_future()
        frame = msgspec.msgpack.encode(
            Call(number=number, request=request, chunks=tuple(chunk.size for chunk in sound))
        )
        with contextlib.suppress(OSError):  # it has ended; the listener reports how
            self._process.stdin.write(LENGTH.pack(len(frame)) + frame)
            for chunk in sound:
                self._process.stdin.write(chunk.data.cast("B"))
                await self._process.stdin.drain()  # so that no more than one chunk is copied at a time
            await self._process.stdin.drain()
        if self._listening.done():  # it ended before the call was registered
            self._fail(Ended("ended"))
        return answer

    def kill(self) -> None:
        """Kill it now; the calls in it raise Ended."""
        self.is_doomed = True
        if self._process.returncode is None:
            self._process.kill()

    async def bury(self) -> None:
        """Wait until it is gone and every call has its answer."""
        await self._ended()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        read = self._process.stdout.readexactly
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                (length,) = LENGTH.unpack(await read(LENGTH.size))
                answer = _decode(await read(length))
                due = self._due.pop(answer.number)
                if not due.done():
                    due.set_result(answer.result)
        self.is_doomed = True
        try:
            # Do not kill it at once: asyncio would see its end twice, and lose how it ended.
            await asyncio.wait_for(self._process.wait(), _DYING)
        except TimeoutError:
            self._process.kill()
        self._fail(Ended(_end(await self._ended())))

    def _fail(self, error: Ended) -> None:
        while self._due:
            _, due = self._due.popitem()
            if not due.done():
                due.set_exception(error)

    async def _ended(self) -> int:
        """Wait for its exit code."""
        code = await self._process.wait()
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        # A broken pipe raises its error here once more, and Python 3.11.2 complains if nobody fetches it.
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_DYING):
                await self._process.stdin.wait_closed()
        return code


def environment(threads: int) -> dict[str, str]:
    """Settings that libraries read when they load: idle OpenMP threads must sleep, not spin on shared cores."""
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
    return f"was killed by {name}" + (" (perhaps it ran out of memory)" if name == "SIGKILL" else "")
