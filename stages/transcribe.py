"""Transcribe: from a chunk of speech to its segments, many chunks in one engine call where they wait."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from schemas.chunks import ChunkTask
from schemas.events import ChunkDone, Language
from schemas.message import Message
from stages.batcher import Ask, Batcher
from stages.engine_host import EngineHost
from v2t_stream import devices
from v2t_stream.audio import flac
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.spans import to_source
from v2t_stream.stage import Resources
from v2t_stream.topology import JOBS, stage_row
from v2t_stream.transcriber import Transcription

_BATCH: Final = {"cuda": 16, "cpu": 4}  # chunks in one call; a larger one gains no more on a CPU
_SURE: Final = 0.5  # probability from which a detected language may decide for the whole job
_PATIENCE: Final = 5  # seconds that a chunk which is less sure leaves the decision to others
_JOBS_REMEMBERED: Final = 1000  # whose language is held in memory


class Transcribe:
    """Pulls for its own accelerator first, then for any. As many chunks again as one call takes are fetched ahead."""

    def __init__(self, resources: Resources) -> None:
        self._store = resources.store
        self._connection = resources.connection
        self._presence = resources.presence
        self._languages: dict[str, str] = {}
        self._settings = settings = resources.settings
        device = self._device_of(settings.engine)
        batch = settings.batch or _BATCH.get(device, 1)
        row = stage_row("transcribe")
        wanted = (f"transcribe-{device}", "transcribe-any")
        self.row = row._replace(
            consumers=tuple(consumer for consumer in row.consumers if consumer.durable in wanted), slots=2 * batch
        )
        self._threads = settings.threads or devices.threads()
        self._batchers: dict[str, Batcher] = {}
        self._batch = batch
        self._presence.accelerator, self._presence.engine, self._presence.model = (
            device,
            settings.engine,
            settings.model,
        )
        if settings.warm:
            self._warming = asyncio.create_task(self._batcher(settings.engine).warm(settings.model))

    async def process(self, task: ChunkTask) -> AsyncGenerator[Message]:
        """Raises Reject where the chunk can never be done here, Retry where its engine failed."""
        options = task.options
        engine = options.engine or self._settings.engine
        model = options.model or self._settings.model
        try:
            audio = await self._store.get(task.audio)
        except ObjectMissing:
            raise Reject(
                f"the audio of chunk {task.n} is no longer in the object store: submit the job again"
            ) from None
        samples = await asyncio.to_thread(flac.decode, audio)

        async def hear(language: str | None) -> tuple[Transcription, float]:
            ask = Ask(model, language, options.task, options.word_timestamps)
            heard, seconds = await self._batcher(engine).transcribe(samples, ask)
            self._presence.measured(task.seconds, seconds)
            return heard, seconds

        open_ = options.language is None and not options.multilingual
        language = await self._decided(task.job) if open_ else options.language
        heard, seconds = await hear(language)
        if open_ and language is None and heard.segments:
            if heard.confidence < _SURE:
                await self._wait_for_decision(task.job)
            yield Language(job=task.job, language=heard.language)  # the first one stands
            language = await self._decided(task.job)
            if language != heard.language:
                heard, more = await hear(language)
                seconds += more
        yield ChunkDone(
            job=task.job,
            n=task.n,
            start=task.start,
            end=task.end,
            segments=to_source(task.spans, heard.segments),
            language=heard.language if heard.segments else None,
            engine=engine,
            model=model,
            node=self._settings.node,
            seconds=seconds,
        )

    async def _decided(self, job: str) -> str | None:
        """The language that was decided for the job, if one was."""
        if job not in self._languages:
            data = await self._connection.last(JOBS, Language.SUBJECT.format(job=job))
            if data is None:
                return None
            if len(self._languages) >= _JOBS_REMEMBERED:
                self._languages.clear()
            self._languages[job] = msgspec.json.decode(data, type=Language).language
        return self._languages[job]

    async def _wait_for_decision(self, job: str) -> None:
        """Give a chunk that is surer a few seconds to decide."""
        for _ in range(_PATIENCE):
            if await self._decided(job):
                return
            await asyncio.sleep(1)

    def _batcher(self, engine: str) -> Batcher:
        """Each engine has a process of its own, started when it is first asked for."""
        if engine not in self._batchers:
            host = EngineHost(engine, device=self._device_of(engine), threads=self._threads)
            self._batchers[engine] = Batcher(host, self._batch)
        return self._batchers[engine]

    def _device_of(self, engine: str) -> devices.Device:
        """What this machine offers `engine`, where it is not forced."""
        return devices.detect(engine) if self._settings.device == "auto" else self._settings.device

    async def close(self) -> None:
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))
