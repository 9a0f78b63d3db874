"""The provider chain: a chunk that one provider fails on goes to the next."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.options import Options, Request
from v2t_stream.errors import Reject, Retry, V2TError
from v2t_stream.host.devices import Device
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.link import Link
from v2t_stream.transcription.local_engine import LocalEngine
from v2t_stream.transcription.providers import HTTP_ENGINES, Local, Provider
from v2t_stream.transcription.remote import RemoteEngine
from v2t_stream.transcription.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)

_BRIEF: Final = 20.0  # seconds to wait for a provider's limits where another may follow
_LONG: Final = 900.0  # and where none does; half of what a chunk may take in all
_AWAY: Final = 300.0  # the longest time a chunk is kept from other machines
_ELSEWHERE: Final = 30.0  # seconds until a chunk that nothing here may do is offered again


class Heard(NamedTuple):
    transcription: Transcription
    engine: str  # as a job asks for it, such as "faster-whisper" or "openai"
    model: str
    provider: str  # its name in providers.yaml
    seconds: float  # what the chunk cost: its share of the engine's time, or the call's


class Chain:
    """The providers of this machine in order. Its users see one engine that does not give up so soon."""

    def __init__(self, providers: Sequence[Provider], settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models
        self._engines: dict[str, LocalEngine] = {}  # by the provider's name
        self.links = [self._link(provider) for provider in providers if provider.enabled]
        self._unlisted: dict[str, Link] = {}  # engines that a job asked for and the file does not name

    @property
    def device(self) -> Device | None:
        """What the first local engine computes on; None where there is no such engine."""
        return next((engine.device for engine in self._engines.values()), None)

    @property
    def accelerators(self) -> set[str]:
        """Whose chunks this machine takes. Only an engine of its own can do any job; paid services it must be told."""
        mine = {self.device, "any"} if self._engines else set()
        open_ = {"remote" if link.provider.is_remote else "any" for link in self.links}
        return {name for name in mine | open_ if name}

    @property
    def slots(self) -> int:
        """Chunks to have in hand: those the first engine has use for, or those the services take."""
        ours = [engine.slots for engine in self._engines.values()][:1]
        theirs = [link.provider.max_concurrency for link in self.links if not isinstance(link.provider, Local)]
        return max(*ours, *theirs, 1)

    async def transcribe(self, samples: Samples, audio: bytes, options: Options, *, careful: bool = False) -> Heard:
        """Ask the providers that fit, in order. `audio` is `samples` as FLAC.

        Raises Reject where each that was asked says that it can never be done, and otherwise Retry.
        """
        links = self._fitting(options)
        refused: Reject | None = None
        failed: Retry | None = None
        reason: V2TError
        for n, link in enumerate(links, 1):
            model = link.model(options)
            request = Request.of(options, model=model, careful=careful)
            try:
                patience = _BRIEF if n < len(links) else _LONG
                transcription, seconds = await link.transcribe(samples, audio, request, patience)
                return Heard(transcription, link.provider.engine, model, link.provider.name, seconds)
            except Reject as error:
                refused, reason = refused or error, error
            except Retry as error:
                failed = reason = error
            if n < len(links):  # the last reason is told by who called
                _log.warning("%s failed, asking %s: %s", link.provider.name, links[n].provider.name, reason)
        if failed and (failed.delay or 0.0) > _AWAY:
            raise Retry(str(failed), _AWAY) from failed  # another machine may have its own account
        raise failed or refused or AssertionError("there is always a link")

    async def warm(self) -> None:
        """Load the first local engine's model ahead of the first chunk."""
        for link in self.links:
            if engine := self._engines.get(link.provider.name):
                await engine.warm(link.provider.model)
                return

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in (*self.links, *self._unlisted.values())))

    def _fitting(self, options: Options) -> list[Link]:
        """The links that may do the job, in order. Raises Reject or Retry where there is none."""
        links = self.links
        if options.engine:
            links = [link for link in links if link.provider.engine == options.engine]
            if not links and options.engine in HTTP_ENGINES:
                raise Retry(f"this machine has no provider {options.engine}: name one in providers.yaml", _ELSEWHERE)
            if not links and options.accelerator != "remote":
                links = [self._unlisted_engine(options.engine)]
        if options.accelerator == "remote":
            if not options.remote:
                raise Reject("the job asks for remote providers but does not allow them: submit it with --remote")
            links = [link for link in links if link.provider.is_remote]
        elif options.accelerator != "any":
            links = [link for link in links if not link.provider.is_remote]
        allowed = [link for link in links if options.remote or not link.provider.is_remote]
        if not allowed and links:
            names = ", ".join(link.provider.name for link in links)
            raise Retry(
                f"the job does not allow remote providers, and here there are no others ({names}): "
                "submit it with --remote",
                _ELSEWHERE,
            )
        if not allowed:
            raise Retry("no provider of this machine fits the job's engine and accelerator", _ELSEWHERE)
        return allowed

    def _unlisted_engine(self, engine: str) -> Link:
        if engine not in self._unlisted:
            name = f"{engine} (not in the file)"
            self._unlisted[engine] = self._link(Local(type=engine, name=name), main=False)
        return self._unlisted[engine]

    def _link(self, provider: Provider, *, main: bool = True) -> Link:
        if not isinstance(provider, Local):
            return Link(provider, RemoteEngine(provider))
        engine = LocalEngine(provider, self._settings, self._models)
        if main:
            self._engines[provider.name] = engine
        return Link(msgspec.structs.replace(provider, model=provider.model or self._settings.model), engine)
