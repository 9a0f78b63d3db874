"""One provider of the chain: an engine or a service with its limits, retries and timeout."""

import asyncio
import logging
import sys
import time
from typing import Protocol

from schemas.options import Request
from v2t_stream.engines.offer import Offer
from v2t_stream.errors import Reject, Retry, Unusable
from v2t_stream.transcription.patience import DEFAULT, Patience
from v2t_stream.transcription.provider import Local, Provider
from v2t_stream.transcription.rate_limit import RateLimit
from v2t_stream.transcription.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)


class Hears(Protocol):
    """What a link calls: an engine on this machine, or a service."""

    async def prepare(self, model: str) -> None:
        """Get what `hear` needs to this machine; the timeout does not count this. Raises Reject, Retry or Unready."""

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:
        """The chunk's transcription and the seconds it cost. `audio` is `samples` as FLAC."""
        ...

    async def close(self) -> None: ...


class Link:
    """Enforces every setting of `provider` that its engine or service need not know itself."""

    def __init__(self, provider: Provider, hears: Hears, *, listed: bool = True, patience: Patience = DEFAULT) -> None:
        """`listed`: it is in the chain, rather than an engine that only the job names."""
        self.provider = provider
        self.offer: Offer = provider.offer(listed=listed)
        self._hears = hears
        self._backoff = patience.backoff
        self._is_local = isinstance(provider, Local)
        self._free = asyncio.Semaphore(provider.max_concurrency or sys.maxsize)
        self._limit = RateLimit(provider.rate_limit_per_minute, patience.minute)
        self._resting = 0.0  # it asked to be left alone until then, on the monotonic clock

    async def transcribe(
        self, samples: Samples, audio: bytes, request: Request, patience: float
    ) -> tuple[Transcription, float]:
        """Try until it works or `retries` are used up. Raises Reject or Retry.

        `patience`: how many seconds to wait for a limit, or because a service asks for it; a longer wait raises Retry.
        """
        for tried in range(self.provider.retries + 1):
            try:
                return await self._try(samples, audio, request, patience)
            except (Reject, Unusable):
                raise
            except Retry as error:
                delay = self._backoff[min(tried, len(self._backoff) - 1)] if error.delay is None else error.delay
                if tried == self.provider.retries or delay > patience:
                    raise
                _log.info("trying %s again in %g s: %s", self.provider.name, delay, error)
            await asyncio.sleep(delay)
        raise AssertionError  # the last try returns or raises

    async def _try(
        self, samples: Samples, audio: bytes, request: Request, patience: float
    ) -> tuple[Transcription, float]:
        await self._hears.prepare(request.model)
        async with self._free:
            await self._turn(patience)
            try:
                async with asyncio.timeout(self.provider.timeout) as limit:
                    return await self._hears.hear(samples, audio, request)
            except TimeoutError as error:
                if not limit.expired():
                    raise Retry(f"{self.provider.name} timed out: {error}") from error
                raise Retry(f"{self.provider.name} took longer than {self.provider.timeout:g} s (timeout)") from None
            except Unusable:
                raise
            except Retry as error:
                if (
                    error.delay is not None and not self._is_local
                ):  # the service asked to wait: that holds for the other chunks too
                    self._resting = max(self._resting, time.monotonic() + error.delay)
                raise

    async def _turn(self, patience: float) -> None:
        """Wait until the rate limit and the service itself allow another call."""
        now = time.monotonic()
        wait = max(self._limit.wait(now), self._resting - now)
        if wait > patience:
            raise Retry(f"{self.provider.name} takes no calls for {wait:.0f} s", wait)
        self._limit.take(now)
        await asyncio.sleep(max(0.0, wait))

    async def close(self) -> None:
        await self._hears.close()
