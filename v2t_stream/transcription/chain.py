"""The provider chain: a chunk that one provider fails on goes to the next."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from schemas.options import Device, Options, Request
from v2t_stream.engines.offer import Obstacle, Offer, Step, obstacle
from v2t_stream.errors import Elsewhere, Reject, Retry, V2TError
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.link import Link
from v2t_stream.transcription.local_engine import LocalEngine
from v2t_stream.transcription.patience import DEFAULT, Patience
from v2t_stream.transcription.provider import Http, Local, Provider, services
from v2t_stream.transcription.providers import offers, with_model
from v2t_stream.transcription.remote.engine import RemoteEngine
from v2t_stream.transcription.transcriber import Samples, Transcription

_log = logging.getLogger(__name__)


class Heard(NamedTuple):
    transcription: Transcription
    engine: str  # as a job names it, such as "faster-whisper" or "openai"
    model: str
    provider: str  # its name in providers.yaml
    seconds: float  # what the chunk cost: its share of the engine's time, or the call's


class Chain:
    """The providers of this machine, in order. They look like one engine that does not give up easily."""

    def __init__(
        self, providers: Sequence[Provider], settings: Settings, models: Models, patience: Patience = DEFAULT
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._models = models
        self._engines: dict[str, LocalEngine] = {}  # by the provider's name
        self.links = [self._link(provider) for provider in providers if provider.enabled]
        self._unlisted: dict[str, Link] = {}  # engines that a job named and the file does not list

    @property
    def device(self) -> Device | None:
        """What the first local engine computes on; None if there is no local engine."""
        return next((engine.device for engine in self._engines.values()), None)

    @property
    def accelerators(self) -> set[str]:
        """Which queues of chunks this machine takes from. Services need a job's permission, so they take only some."""
        mine = {self.device, "any"} if self._engines else set()
        open_ = {"remote" if link.provider.is_remote else "any" for link in self.links}
        return {name for name in mine | open_ if name}

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What this machine can do, for the fleet to know."""
        return offers((link.provider for link in self.links), self._settings.model)

    @property
    def slots(self) -> int:
        """How many chunks to hold: as many as the first engine can use, or as the services take."""
        ours = [engine.slots for engine in self._engines.values()][:1]
        theirs = [link.provider.max_concurrency for link in self.links if not isinstance(link.provider, Local)]
        return max(*ours, *theirs, 1)

    async def transcribe(self, samples: Samples, audio: bytes, options: Options, *, careful: bool = False) -> Heard:
        """Ask the providers that fit, in order. `audio` is `samples` as FLAC.

        Raises Reject if every provider that was asked says that it can never be done, and otherwise Retry.
        """
        links = self._fitting(options)
        refused: Reject | None = None
        failed: Retry | None = None
        reason: V2TError
        for n, link in enumerate(links, 1):
            model = link.offer.model_for(options)
            request = Request.of(options, model=model, careful=careful)
            try:
                patience = self._patience.brief if n < len(links) else self._patience.long
                transcription, seconds = await link.transcribe(samples, audio, request, patience)
                return Heard(transcription, link.provider.engine, model, link.provider.name, seconds)
            except Reject as error:
                refused, reason = refused or error, error
            except Retry as error:
                failed = reason = error
            if n < len(links):  # the caller reports the last reason
                _log.warning("%s failed, so %s is next: %s", link.provider.name, links[n].provider.name, reason)
        if failed and (failed.delay or 0.0) > self._patience.away:
            raise Retry(str(failed), self._patience.away) from failed  # another machine may have its own account
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
        """The links that can do the job and may, in order. Raises Reject or Elsewhere if there are none."""
        if options.accelerator == "remote" and not options.remote:
            raise Reject("the job asks for remote providers but does not allow them: submit it with --remote")
        links = [*self.links, *self._unlisted_for(options)]
        obstacles = [obstacle(link.offer, options) for link in links]
        if fitting := [link for link, found in zip(links, obstacles, strict=True) if found is None]:
            return fitting
        raise Elsewhere(_sentence(links, obstacles, options), self._patience.elsewhere)

    def _unlisted_for(self, options: Options) -> list[Link]:
        """The engine that the job names, if no provider has it and it is not a service."""
        engine = options.engine
        if engine is None or engine in services() or engine in [link.provider.engine for link in self.links]:
            return []
        if engine not in self._unlisted:
            name = f"{engine} (not in the file)"
            self._unlisted[engine] = self._link(Local(type=engine, name=name), listed=False)
        return [self._unlisted[engine]]

    def _link(self, provider: Provider, *, listed: bool = True) -> Link:
        if isinstance(provider, Http):
            return Link(provider, RemoteEngine(provider), listed=listed, patience=self._patience)
        assert isinstance(provider, Local)  # noqa: S101  for the type checker: there is nothing else
        engine = LocalEngine(provider, self._settings, self._models, self._patience)
        if listed:
            self._engines[provider.name] = engine
        return Link(with_model(provider, self._settings.model), engine, listed=listed, patience=self._patience)


def _sentence(links: Sequence[Link], obstacles: Sequence[Obstacle | None], options: Options) -> str:
    """Why no provider of this machine does the job: what stops those that come nearest."""
    found = [(link.provider.name, reason) for link, reason in zip(links, obstacles, strict=True) if reason]
    nearest = max((reason.step for _, reason in found), default=Step.ENGINE)
    if nearest == Step.ENGINE:
        return f"this machine has no provider {options.engine}: add one to providers.yaml"
    if nearest == Step.PERMISSION:
        names = ", ".join(name for name, reason in found if reason.step == nearest)
        return f"here only remote providers can do the job, which it does not allow ({names}): submit it with --remote"
    reasons = "; ".join(f"{name} {reason.reason}" for name, reason in found if reason.step == nearest)
    return f"no provider of this machine can do this job: {reasons}"
