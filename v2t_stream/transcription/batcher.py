"""Puts chunks that are waiting at the same time, whichever jobs they belong to, into one engine call."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from schemas.options import Request
from v2t_stream.errors import V2TError
from v2t_stream.models.fetching import Held
from v2t_stream.transcription.engine_host import EngineDied, EngineHost
from v2t_stream.transcription.transcriber import Samples, Transcription


class _Waiting(NamedTuple):
    request: Request
    samples: Samples
    result: "asyncio.Future[tuple[Transcription, float]]"
    alone: bool = False  # it was in the engine when that died; trying it alone shows whether it was the cause


class Batcher:
    """Feeds one engine: as many calls at once as it takes, each of up to `size` chunks with equal requests.

    While calls run, chunks gather for the next one.
    """

    def __init__(self, host: EngineHost, hold: Callable[[str], Awaitable[Held]], size: int, *, idle: float) -> None:
        self._host = host
        self._hold = hold
        self._size = size
        self._waiting: deque[_Waiting] = deque()
        self._running: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()  # set when a chunk has come or a call has ended
        self._is_alone = False  # the running call has the engine to itself
        self.loaded = ""  # the model as it was asked for
        self._held = Held("")  # the same model as the engine has it
        self._idle = idle  # seconds without work after which the engine's memory is given back
        self._rest: asyncio.TimerHandle | None = None

    async def transcribe(self, samples: Samples, request: Request) -> tuple[Transcription, float]:
        """The chunk's transcription and its share of the engine's seconds. Raises Reject or Retry."""
        waiting = _Waiting(request, samples, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._news.set()
        if self._rest:
            self._rest.cancel()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await waiting.result

    async def warm(self, model: str) -> None:
        """Load `model` ahead of the first chunk. An error shows when a chunk needs the model."""
        with contextlib.suppress(V2TError), contextlib.closing(await self._hold(model)) as held:
            await self._host.warm(held.model)

    async def close(self) -> None:
        if self._rest:
            self._rest.cancel()
        await self._host.close()
        self._let_go()
        if self._running:
            await asyncio.wait({self._running})  # it ends at once now, and has to find out why by itself

    async def _run(self) -> None:
        while self._waiting or self._calls:
            self._news.clear()
            if not self._waiting or not self._has_room(self._waiting[0]):
                await self._news.wait()
            elif (batch := self._gather()) and await self._has_model(batch):
                self._begin(batch)
        self._rest = asyncio.get_running_loop().call_later(self._idle, self._give_back)

    def _has_room(self, waiting: _Waiting) -> bool:
        """Whether the engine can take it now: a suspect goes alone, and another model waits for the running calls."""
        if self._is_alone or waiting.alone or waiting.request.model != self.loaded:
            return not self._calls
        return len(self._calls) < self._host.calls

    def _gather(self) -> list[_Waiting]:
        """Take the oldest chunk and those with the same request; the others keep their order."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.result.done():
                continue  # cancelled
            size = 1 if batch and batch[0].alone else self._size
            if not batch or (len(batch) < size and not waiting.alone and waiting.request == batch[0].request):
                batch.append(waiting)
            else:
                others.append(waiting)
        self._waiting = others
        return batch

    async def _has_model(self, batch: list[_Waiting]) -> bool:
        """Load the model of the batch separately, so it does not count as slowness; False if that failed."""
        model = batch[0].request.model
        if model == self.loaded:
            return True
        self._let_go()
        try:
            self._held = await self._hold(model)
            await self._host.warm(self._held.model)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must get it
            _fail(batch, error)
            return False
        self.loaded = model
        return True

    def _begin(self, batch: list[_Waiting]) -> None:
        self._is_alone = batch[0].alone
        call = asyncio.create_task(self._call(batch))
        self._calls.add(call)
        call.add_done_callback(self._end)

    def _end(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._news.set()

    async def _call(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            waiting.result.add_done_callback(lambda _: self._end_if_forsaken(batch))
        begun = time.monotonic()
        try:
            results = await self._host.transcribe(
                [waiting.samples for waiting in batch],
                msgspec.structs.replace(batch[0].request, model=self._held.model),
            )
        except EngineDied as error:
            if batch[0].alone or len(batch) == self._host.calls == 1:
                _fail(batch, error)
            else:  # a chunk of this call or another may have crashed the engine: tried alone, only that one fails again
                self._waiting.extendleft(waiting._replace(alone=True) for waiting in reversed(batch))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must get it
            _fail(batch, error)
            return
        share = (time.monotonic() - begun) / len(batch) / self._host.calls
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result((result, share))

    def _end_if_forsaken(self, batch: list[_Waiting]) -> None:
        """End the engine if nobody waits for this call any more, as after the time limit of a chunk."""
        if all(waiting.result.cancelled() for waiting in batch):
            self._host.kill()

    def _give_back(self) -> None:
        """End the engine's process, which frees all memory it holds, on the machine and on the accelerator."""
        self._let_go()
        self._host.kill()

    def _let_go(self) -> None:
        """Allow the files of the model to be removed."""
        self.loaded = ""
        self._held.close()


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.result.done():
            waiting.result.set_exception(error)
