"""Transcribe: from a chunk of speech to its segments; chunks that wait at the same time share an engine call."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Final

import numpy as np
from msgspec.structs import replace

from schemas.chunks import CHUNK_SECONDS, SAMPLE_RATE, ChunkTask
from schemas.events import ChunkDone, Language
from schemas.message import Message
from schemas.options import Options
from schemas.speakers import Window
from schemas.transcript import Segment
from v2t_stream.audio import flac
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.models.fetching import Models, Pace, Transfer
from v2t_stream.runtime.stage import Resources
from v2t_stream.speakers.listening import windows
from v2t_stream.topology.stages import stage_row
from v2t_stream.transcription import providers
from v2t_stream.transcription.chain import Chain, Heard
from v2t_stream.transcription.coverage import covered
from v2t_stream.transcription.engine_host import EngineDied
from v2t_stream.transcription.job_language import SURE, Languages
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.segments import segments
from v2t_stream.transcription.transcriber import Samples

_log = logging.getLogger(__name__)

_LOG_EVERY: Final = 10.0  # seconds
_SILENCE: Final = SAMPLE_RATE  # samples appended to what is heard again


class Transcribe:
    """Pulls chunks for its own accelerators first, then for any, as many as its chain of providers can use."""

    def __init__(self, resources: Resources) -> None:
        self._store = resources.store
        self._presence = resources.presence
        self._languages = Languages(resources.connection)
        self._settings = settings = resources.settings
        self._logged = 0.0
        self._pace = Pace()
        models = Models(settings, self._store, self._tell)
        self._presence.lacking = models.lacking
        self._chain = Chain(providers.load(settings), settings, models)
        row = stage_row("transcribe")
        wanted = {f"transcribe-{name}" for name in self._chain.accelerators}
        self.row = row._replace(
            consumers=tuple(consumer for consumer in row.consumers if consumer.durable in wanted),
            slots=self._chain.slots,
        )
        self._presence.accelerator = self._chain.device or "remote"
        first = self._chain.links[0].provider
        self._presence.takes, self._presence.offers = tuple(sorted(self._chain.accelerators)), self._chain.offers
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
        """Show how much of a model has arrived."""
        if transfer is None:
            self._presence.fetching = ""
            return
        text = f"{transfer.model}, {self._pace.described(transfer)}"
        self._presence.fetching, self._presence.fetched = text, transfer.here / max(1, transfer.size)
        if time.monotonic() > self._logged + _LOG_EVERY:
            self._logged = time.monotonic()
            _log.info("fetching a model %s: %s", transfer.way, text)

    async def process(self, task: ChunkTask) -> AsyncGenerator[Message, bool | None]:
        """Raises Reject if the chunk can never be done, and Retry if its engine failed or cannot do it."""
        try:
            audio = await self._store.get(task.audio)
        except ObjectMissing:
            raise Reject(
                f"the audio of chunk {task.n} is no longer in the object store: submit the job again"
            ) from None
        samples = await asyncio.to_thread(flac.decode, audio)
        undecided = task.options.language is None and not task.options.multilingual
        language = await self._languages.of(task.job, task.run) if undecided else task.options.language
        heard = await self._hear(samples, audio, task.options, language)
        spoken = heard.transcription
        if undecided and language is None and spoken.segments and spoken.language:
            if spoken.confidence < SURE:
                await self._languages.wait(task.job, task.run)
            stands = yield Language(job=task.job, run=task.run, language=spoken.language)
            decided = spoken.language if stands else await self._languages.of(task.job, task.run)
            if decided != spoken.language:
                heard = await self._hear(samples, audio, task.options, decided)
                spoken = heard.transcription
        seconds = heard.seconds

        async def again(start: int, end: int) -> Iterable[Segment]:
            nonlocal seconds
            found, taken = await self._hear_again(samples[start:end], task.options, spoken.language or language)
            seconds += taken
            return found

        result = await covered(spoken.segments, Layout(task.spans, task.speech), again)
        yield ChunkDone(
            job=task.job,
            run=task.run,
            n=task.n,
            start=task.start,
            end=task.end,
            segments=segments(result.words, word_times=task.options.word_timestamps or bool(task.options.speakers)),
            windows=await self._voices(samples, task),
            language=spoken.language or None if result.words else None,  # a service may not say
            engine=heard.engine,
            model=heard.model,
            node=self._settings.node,
            seconds=seconds,
            unheard=result.unheard,
            doubtful=result.doubtful,
        )

    async def _voices(self, samples: Samples, task: ChunkTask) -> tuple[Window, ...]:
        """The voices in a chunk, if the job asks who speaks; none if they cannot be told, which costs no words."""
        if not task.options.speakers:
            return ()
        try:
            return await asyncio.to_thread(windows, samples, task.spans)
        except Exception as error:  # noqa: BLE001  whatever it is, the words count
            _log.exception("the voices of chunk %d cannot be told apart", task.n, exc_info=error)
            return ()

    async def _hear(self, samples: Samples, audio: bytes, options: Options, language: str | None) -> Heard:
        heard = await self._chain.transcribe(samples, audio, replace(options, language=language))
        self._presence.measured(samples.size / SAMPLE_RATE, heard.seconds)
        return heard

    async def _hear_again(
        self, samples: Samples, options: Options, language: str | None
    ) -> tuple[Iterable[Segment], float]:
        """Hear part of a chunk on its own; also the seconds it cost. Empty if the engine dies of it or rejects it."""
        # If an engine loses the end of what it is given, let it lose silence.
        samples = np.pad(samples, (0, min(_SILENCE, CHUNK_SECONDS * SAMPLE_RATE - samples.size)))
        audio = await asyncio.to_thread(flac.encode, (samples * 32768).astype(np.int16))
        try:
            heard = await self._chain.transcribe(samples, audio, replace(options, language=language), careful=True)
        except (EngineDied, Reject) as error:
            _log.warning("a stretch of %.1f s could not be heard again: %s", samples.size / SAMPLE_RATE, error)
            return (), 0.0
        return heard.transcription.segments, heard.seconds

    async def close(self) -> None:
        await self._chain.close()
