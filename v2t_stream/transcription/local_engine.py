"""An installed engine as a provider of the chain."""

import asyncio
from functools import partial
from typing import Final

from schemas.options import Request
from v2t_stream.errors import Unready
from v2t_stream.host import devices
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.batcher import Batcher
from v2t_stream.transcription.engine_host import EngineHost
from v2t_stream.transcription.providers import Local
from v2t_stream.transcription.transcriber import Samples, Transcription

# Chunks in one call, where the engine gains by it. On a processor two take 0.85 of the time of one by one, four gain no
# more, and fewer in hand leave more for other machines.
_BATCH: Final = {("faster-whisper", "cuda"): 16, ("faster-whisper", "cpu"): 2}
# Calls that the engine takes at once, at most; how many it does take, it says when it has loaded a model.
_CALLS: Final = {("faster-whisper", "cuda"): 2, ("faster-whisper", "cpu"): 4}

# Seconds a chunk waits for its model, less than it may take in all; then it is delivered again, and goes on waiting.
_PATIENCE: Final = 1200.0


class LocalEngine:
    """Each has a process of its own, started when it is first asked for."""

    def __init__(self, provider: Local, settings: Settings, models: Models) -> None:
        forced = provider.device if provider.device != "auto" else settings.device
        self.device = devices.detect(provider.engine) if forced == "auto" else forced
        self.batch = provider.batch or settings.batch or _BATCH.get((provider.engine, self.device), 1)
        threads = provider.threads or settings.threads or devices.threads()
        calls = min(threads, _CALLS.get((provider.engine, self.device), 1))
        self.slots = self.batch * (calls + 1)  # chunks to have in hand: those in calls, and the next call's
        host = EngineHost(provider.engine, device=self.device, threads=threads)
        self._hold = partial(models.hold, provider.engine)
        self._batcher = Batcher(host, self._hold, self.batch, idle=settings.idle)

    async def prepare(self, model: str) -> None:
        """See v2t_stream.transcription.link.Hears."""
        if model == self._batcher.loaded:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                held = await self._hold(model)
        except TimeoutError:
            raise Unready(f"the model {model!r} is still on its way to this machine") from None
        held.close()

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:  # noqa: ARG002  it takes them decoded
        """See v2t_stream.transcription.link.Hears."""
        return await self._batcher.transcribe(samples, request)

    async def warm(self, model: str) -> None:
        await self._batcher.warm(model)

    async def close(self) -> None:
        await self._batcher.close()
