"""A service as a provider of the chain."""

import logging
import time

from schemas.chunks import SAMPLE_RATE
from schemas.options import Request
from v2t_stream.engines.registry import descriptor
from v2t_stream.errors import Unusable
from v2t_stream.host.threads import in_thread
from v2t_stream.transcription.provider import Http, ServiceDescriptor
from v2t_stream.transcription.remote.hints import hints
from v2t_stream.transcription.remote.http import Caller
from v2t_stream.transcription.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)


class RemoteEngine:
    """See v2t_stream.transcription.link.Hears. It runs only one thread for each call."""

    def __init__(self, provider: Http) -> None:
        self._provider = provider
        self._caller = Caller(
            provider.name,
            key_variable=provider.key_variable,
            timeout=provider.timeout,
            connections=provider.max_concurrency,
            withdrawn=provider.withdrawn,
        )
        self._told = set[str]()  # the hints that it leaves out
        if provider.enabled and (soon := provider.withdrawn(provider.model)):
            _log.warning("%s: %s", provider.name, soon)

    async def prepare(self, model: str) -> None:
        """Nothing to do: the service has its models."""

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:
        service = descriptor(self._provider.engine)
        if not isinstance(service, ServiceDescriptor):
            raise Unusable(f"{self._provider.name}: the service {self._provider.engine} is not installed here")
        self._check_key()
        for hint in sorted(self._left_out(service, request) - self._told):
            self._told.add(hint)
            _log.warning("%s takes no %s: it transcribes without", self._provider.name, hint)
        begun = time.monotonic()
        seconds = samples.size / SAMPLE_RATE
        heard = await in_thread(lambda: service.hear(self._provider, self._caller, audio, seconds, request))
        return heard, time.monotonic() - begun

    async def close(self) -> None:
        """Its threads end with their calls, or with the process."""

    def _left_out(self, service: ServiceDescriptor, request: Request) -> set[str]:
        """The job's hints that this service cannot use, although it can do the job."""
        unknown = hints(request).keys() - self._provider.able(request.model).hints
        return unknown | service.left_out(self._provider, request)

    def _check_key(self) -> None:
        """Raises Unusable if the key is missing, before any audio leaves this machine."""
        provider = self._provider
        if provider.needs_key and not provider.key:
            raise Unusable(f"{provider.name} needs a key: set {provider.key_variable} in the environment")
        if not (provider.key.isascii() and provider.key.isprintable()):  # HTTP's own error would quote it
            raise Unusable(f"{provider.name}: {provider.key_variable} has characters that no key has: set it again")
