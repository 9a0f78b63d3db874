"""Transcribe: from a chunk of speech to its segments, many chunks in one engine call where they wait."""

import asyncio
from collections.abc import AsyncGenerator

from schemas.chunks import ChunkTask
from schemas.events import ChunkDone
from schemas.message import Message
from stages.chain import Chain
from v2t_stream import providers
from v2t_stream.audio import flac
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.spans import to_source
from v2t_stream.stage import Resources
from v2t_stream.topology import stage_row


class Transcribe:
    """Pulls for its own accelerators first, then for any, as many chunks as its chain of providers has use for."""

    def __init__(self, resources: Resources) -> None:
        self._store = resources.store
        self._settings = settings = resources.settings
        self._chain = Chain(providers.load(settings), settings)
        row = stage_row("transcribe")
        wanted = {f"transcribe-{name}" for name in self._chain.accelerators}
        self.row = row._replace(
            consumers=tuple(consumer for consumer in row.consumers if consumer.durable in wanted),
            slots=self._chain.slots,
        )
        if settings.warm:
            self._warming = asyncio.create_task(self._chain.warm())

    async def process(self, task: ChunkTask) -> AsyncGenerator[Message]:
        """Raises Reject where the chunk can never be done here, Retry where its engine failed."""
        try:
            audio = await self._store.get(task.audio)
        except ObjectMissing:
            raise Reject(
                f"the audio of chunk {task.n} is no longer in the object store: submit the job again"
            ) from None
        samples = await asyncio.to_thread(flac.decode, audio)
        heard = await self._chain.transcribe(samples, audio, task.options)
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
