"""Services that transcribe, called over HTTP as providers of the chain."""

import logging
import time

from schemas.chunks import SAMPLE_RATE
from schemas.options import Request
from v2t_stream.host.threads import in_thread
from v2t_stream.transcription.link import Unusable
from v2t_stream.transcription.providers import CustomHttp, ElevenLabs, OpenAI, Provider
from v2t_stream.transcription.remote import custom_http, elevenlabs, openai
from v2t_stream.transcription.remote.http import Service
from v2t_stream.transcription.transcriber import Samples, Transcription

__all__ = ["RemoteEngine"]

_log = logging.getLogger(__name__)


class RemoteEngine:
    """See v2t_stream.transcription.link.Hears. Nothing runs here but one thread for each call."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._service = Service(
            provider.name,
            key_variable=provider.key_variable,
            timeout=provider.timeout,
            connections=provider.max_concurrency,
        )
        self._told = set[str]()  # of what it leaves out

    async def prepare(self, model: str) -> None:
        """A service has its models."""

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:
        self._check_key()
        for hint in sorted(self._left_out(request) - self._told):
            self._told.add(hint)
            _log.warning("%s takes no %s: it transcribes without", self._provider.name, hint)
        begun = time.monotonic()
        heard = await in_thread(lambda: self._hear(audio, samples.size / SAMPLE_RATE, request))
        return heard, time.monotonic() - begun

    async def close(self) -> None:
        """Its threads end with their calls, or with the process."""

    def _hear(self, audio: bytes, seconds: float, request: Request) -> Transcription:
        match self._provider:
            case OpenAI():
                return openai.hear(self._provider, self._service, audio, seconds, request)
            case ElevenLabs():
                return elevenlabs.hear(self._provider, self._service, audio, seconds, request)
            case CustomHttp():
                return custom_http.hear(self._provider, self._service, audio, seconds, request)
        raise Unusable(f"{self._provider.name}: no service of the type {self._provider.type}")

    def _left_out(self, request: Request) -> set[str]:
        """What the job asks for and this service cannot be told, though it can do the job."""
        match self._provider:
            case OpenAI():
                return openai.left_out(request)
            case ElevenLabs():
                return elevenlabs.left_out(request)
            case CustomHttp():
                return custom_http.left_out(self._provider, request)
        return set()

    def _check_key(self) -> None:
        """A key that is asked for and not there is told before any audio leaves this machine."""
        provider = self._provider
        if provider.needs_key and not provider.key:
            raise Unusable(f"{provider.name} needs a key: set {provider.key_variable} in the environment")
        if not (provider.key.isascii() and provider.key.isprintable()):  # HTTP's own error would quote it
            raise Unusable(f"{provider.name}: {provider.key_variable} holds characters that no key has: set it anew")
