"""An installed engine as a provider of the chain."""

import asyncio
from functools import partial

from schemas.options import Request
from v2t_stream.engines.registry import engine
from v2t_stream.errors import Unready
from v2t_stream.host import devices
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.batcher import Batcher
from v2t_stream.transcription.engine_host import EngineHost
from v2t_stream.transcription.patience import DEFAULT, Patience
from v2t_stream.transcription.provider import Local
from v2t_stream.transcription.transcriber import Samples, Transcription


class LocalEngine:
    """Each engine has a process of its own, which the first call starts."""

    def __init__(self, provider: Local, settings: Settings, models: Models, patience: Patience = DEFAULT) -> None:
        self._patience = patience.model
        about = engine(provider.engine)
        forced = provider.device if provider.device != "auto" else settings.device
        self.device = devices.detect(about.devices) if forced == "auto" else forced
        self.batch = provider.batch or settings.batch or about.batch.get(self.device, 1)
        threads = provider.threads or settings.threads or devices.threads()
        calls = min(threads, about.calls.get(self.device, 1))
        self.slots = self.batch * (calls + 1)  # chunks to hold: those of the running calls, and of the next
        host = EngineHost(provider.engine, device=self.device, threads=threads)
        self._hold = partial(models.hold, provider.engine)
        self._batcher = Batcher(host, self._hold, self.batch, idle=settings.idle)

    async def prepare(self, model: str) -> None:
        """See v2t_stream.transcription.link.Hears."""
        if model == self._batcher.loaded:
            return
        try:
            async with asyncio.timeout(self._patience):
                held = await self._hold(model)
        except TimeoutError:
            raise Unready(f"the model {model!r} is still on its way to this machine") from None
        held.close()

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:  # noqa: ARG002  it needs the samples alone
        """See v2t_stream.transcription.link.Hears."""
        return await self._batcher.transcribe(samples, request)

    async def warm(self, model: str) -> None:
        await self._batcher.warm(model)

    async def close(self) -> None:
        await self._batcher.close()
