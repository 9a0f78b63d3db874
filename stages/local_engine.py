"""An installed engine as a provider of the chain."""

from typing import Final

from stages.batcher import Ask, Batcher
from stages.engine_host import EngineHost
from v2t_stream import devices
from v2t_stream.providers import Local
from v2t_stream.settings import Settings
from v2t_stream.transcriber import Samples, Transcription

# Chunks in one call, where the engine gains by it; on a CPU a larger batch gains no more.
_BATCH: Final = {("faster-whisper", "cuda"): 16, ("faster-whisper", "cpu"): 4}


class LocalEngine:
    """Each has a process of its own, started when it is first asked for."""

    def __init__(self, provider: Local, settings: Settings) -> None:
        forced = provider.device if provider.device != "auto" else settings.device
        self.device = devices.detect(provider.engine) if forced == "auto" else forced
        self.batch = provider.batch or settings.batch or _BATCH.get((provider.engine, self.device), 1)
        threads = provider.threads or settings.threads or devices.threads()
        host = EngineHost(provider.engine, device=self.device, threads=threads)
        self._batcher = Batcher(host, self.batch, idle=settings.idle)

    async def hear(self, samples: Samples, audio: bytes, ask: Ask) -> tuple[Transcription, float]:  # noqa: ARG002  it takes them decoded
        """See stages.link.Hears."""
        return await self._batcher.transcribe(samples, ask)

    async def warm(self, model: str) -> None:
        await self._batcher.warm(model)

    async def close(self) -> None:
        await self._batcher.close()
