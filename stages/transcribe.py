"""Transcribe: from a chunk of speech to its segments, many chunks in one engine call where they wait."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from schemas.chunks import ChunkTask
from schemas.events import ChunkDone, Language
from schemas.message import Message
from stages.chain import Chain, Heard
from stages.language import SURE, Languages
from v2t_stream import providers
from v2t_stream.audio import flac
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.models.fetching import Models, Transfer
from v2t_stream.spans import to_source
from v2t_stream.stage import Resources
from v2t_stream.topology import stage_row

_log = logging.getLogger(__name__)

_LOG_EVERY: Final = 10.0  # seconds


class Transcribe:
    """Pulls for its own accelerators first, then for any, as many chunks as its chain of providers has use for."""

    def __init__(self, resources: Resources) -> None:
        self._store = resources.store
        self._presence = resources.presence
        self._languages = Languages(resources.connection)
        self._settings = settings = resources.settings
        self._logged = 0.0
        self._chain = Chain(providers.load(settings), settings, Models(settings, self._store, self._tell))
        row = stage_row("transcribe")
        wanted = {f"transcribe-{name}" for name in self._chain.accelerators}
        self.row = row._replace(
            consumers=tuple(consumer for consumer in row.consumers if consumer.durable in wanted),
            slots=self._chain.slots,
        )
        self._presence.accelerator = self._chain.device or "remote"
        first = self._chain.links[0].provider
        self._presence.engine, self._presence.model = first.engine, first.model or settings.model
        if settings.warm:
            self._presence.loading = True
            self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        try:
            await self._chain.warm()
        finally:
            self._presence.loading = False

    def _tell(self, transfer: Transfer | None) -> None:
        """Show how far a model is on its way here."""
        if transfer is None:
            self._presence.fetching = ""
            return
        text = f"{transfer.model}, {transfer.here / 1e6:.0f} of {transfer.size / 1e6:.0f} MB"
        self._presence.fetching = text
        if time.monotonic() > self._logged + _LOG_EVERY:
            self._logged = time.monotonic()
            _log.info("a model comes %s: %s", transfer.way, text)

    async def process(self, task: ChunkTask) -> AsyncGenerator[Message]:
        """Raises Reject where the chunk can never be done here, Retry where its engine failed."""
        try:
            audio = await self._store.get(task.audio)
        except ObjectMissing:
            raise Reject(
                f"the audio of chunk {task.n} is no longer in the object store: submit the job again"
            ) from None
        samples = await asyncio.to_thread(flac.decode, audio)

        async def hear(language: str | None) -> Heard:
            options = msgspec.structs.replace(task.options, language=language)
            heard = await self._chain.transcribe(samples, audio, options)
            self._presence.measured(task.seconds, heard.seconds)
            return heard

        undecided = task.options.language is None and not task.options.multilingual
        language = await self._languages.of(task.job) if undecided else task.options.language
        heard = await hear(language)
        spoken = heard.transcription
        if undecided and language is None and spoken.segments and spoken.language:
            if spoken.confidence < SURE:
                await self._languages.wait(task.job)
            yield Language(job=task.job, language=spoken.language)
            decided = await self._languages.of(task.job)
            if decided != spoken.language:
                heard = await hear(decided)
                spoken = heard.transcription
        yield ChunkDone(
            job=task.job,
            n=task.n,
            start=task.start,
            end=task.end,
            segments=to_source(task.spans, spoken.segments),
            language=spoken.language or None if spoken.segments else None,  # a service may not tell it
            engine=heard.engine,
            model=heard.model,
            node=self._settings.node,
            seconds=heard.seconds,
        )

    async def close(self) -> None:
        await self._chain.close()
