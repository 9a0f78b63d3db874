"""Convert: from a media file to chunks of speech, each sent as soon as it is cut."""

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import structs

from schemas.chunks import SAMPLE_RATE, ChunkTask
from schemas.events import Converted, Downloaded, Failed, Language, Progress, Rerun, Submitted
from schemas.message import Message
from schemas.options import Options
from v2t_stream.audio import flac
from v2t_stream.audio.arriving import ArrivingReader
from v2t_stream.audio.cut import cut
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.packing import Chunk
from v2t_stream.errors import ObjectMissing, Reject, UploadStopped, VersionGone
from v2t_stream.host import devices
from v2t_stream.host.scratch import scratch
from v2t_stream.jobs.arrival import Arrival, fetched
from v2t_stream.runtime.stage import Resources
from v2t_stream.text import one_line
from v2t_stream.topology.ids import folder
from v2t_stream.topology.stages import stage_row

log = logging.getLogger(__name__)

_REPORT_EVERY: Final = 0.5  # seconds


class Convert:
    def __init__(self, resources: Resources) -> None:
        self.row = stage_row("convert")
        self._store = resources.store
        self._settings = resources.settings
        self._scratch = scratch(resources.settings.home, "convert")
        # Files decoded at the same time take turns, block by block: each step uses up to two threads of its own.
        self._steps = asyncio.Semaphore(max(1, devices.threads() // 2))

    async def process(self, work: Downloaded | Rerun) -> AsyncGenerator[Message, bool | None]:
        """Raises Reject for media that cannot be decoded, is too long, or is gone from the store.

        Chunks that a retry keeps are cut at the same places as before, but not sent.
        """
        media, kept = (work.begins, frozenset(work.keeps)) if isinstance(work, Rerun) else (work, frozenset())
        if isinstance(media, Submitted):
            return  # there is no media yet: this retry is for the stage download
        if isinstance(work, Rerun) and work.language:
            yield Language(job=work.job, run=work.run, language=work.language)
        with tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True) as directory:
            path = Path(directory) / "source"
            try:
                async with (
                    fetched(self._store, media, path) as arrival,
                    aclosing(self._read(media, kept, path, arrival)) as results,
                ):
                    async for result in results:
                        yield result
            except VersionGone as error:
                yield Failed(job=media.job, run=media.run, stage="convert", reason=str(error), gone=True)
            except UploadStopped as error:  # no dead letter: whoever sends it again makes a new job
                yield Failed(job=media.job, run=media.run, stage="convert", reason=str(error))
            except ObjectMissing:
                raise Reject(f"the media of {media.title!r} is no longer in the object store: send it again") from None

    async def _read(
        self, media: Downloaded, kept: frozenset[int], path: Path, arrival: Arrival | None
    ) -> AsyncGenerator[Message]:
        """Read it as it arrives, or else when it is whole: then its chunks are the same, and have the same numbers."""
        if arrival:
            try:
                async with aclosing(self._cut(media, kept, arrival.file.path, arrival)) as results:
                    async for result in results:
                        yield result
            except Reject as error:
                log.info("reading it again when it is whole: %s", error)
                await arrival.whole()
            else:
                return
        async with aclosing(self._cut(media, kept, path)) as results:
            async for result in results:
                yield result

    async def _cut(
        self, media: Downloaded, kept: frozenset[int], path: Path, arrival: Arrival | None = None
    ) -> AsyncGenerator[Message]:
        begun = reported = time.monotonic()
        options = media.options
        reader = await asyncio.to_thread(
            partial(ArrivingReader, arrival.file) if arrival else partial(MediaReader, path),
            one_line(media.source),
            track=options.audio_track,
            language=options.language,
        )
        with reader:
            sent = taken = speech = 0
            threshold = self._threshold(options)
            cutting = _ahead(cut(reader, threshold=threshold), self._steps, arrival)
            async with aclosing(cutting):
                async for chunks in cutting:
                    for chunk in chunks:
                        if sent not in kept:
                            yield await self._stored(media, sent, chunk)
                        sent += 1
                        taken += chunk.samples.size
                        speech += sum(mark.length for mark in chunk.speech or ())
                    self._check_length(reader)
                    if chunks or time.monotonic() - reported > _REPORT_EVERY:
                        reported = time.monotonic()
                        yield _progress(media, reader, sent)
            yield _progress(media, reader, sent)  # the last chunks may still wait for their turn
            yield Converted(
                job=media.job,
                run=media.run,
                chunks=sent,
                duration=reader.position,
                speech=taken / SAMPLE_RATE,
                seconds=time.monotonic() - begun,
                truncated=reader.truncated,
                sound=structs.replace(reader.sound, speech=speech / SAMPLE_RATE if threshold else None),
            )

    async def _stored(self, media: Downloaded, n: int, chunk: Chunk) -> ChunkTask:
        """Put the chunk's audio into the store, which must happen before the chunk is announced."""
        key = f"media/{folder(media.job, media.run)}/chunks/{n}.flac"
        await self._store.put(key, await asyncio.to_thread(flac.encode, chunk.samples))
        return ChunkTask(
            job=media.job,
            run=media.run,
            n=n,
            audio=key,
            spans=chunk.spans,
            speech=chunk.speech,
            options=media.options,
        )

    def _check_length(self, reader: MediaReader) -> None:
        """Judges by what was decoded: the declared length may be a guess by FFmpeg."""
        if reader.position > self._settings.max_duration:
            raise Reject(
                f"{reader.name} is longer than the allowed {self._settings.max_duration / 3600:g} hours: "
                "raise V2T_MAX_DURATION (seconds)"
            )

    def _threshold(self, options: Options) -> float:
        return self._settings.vad_threshold if options.vad_threshold is None else options.vad_threshold

    async def close(self) -> None:
        """Nothing to close."""


def _progress(media: Downloaded, reader: MediaReader, chunks: int) -> Progress:
    return Progress(
        job=media.job,
        run=media.run,
        stage="convert",
        done=reader.position,
        total=reader.duration,
        chunks=chunks,
    )


async def _ahead(
    cutting: Iterator[tuple[Chunk, ...]], steps: asyncio.Semaphore, arrival: Arrival | None
) -> AsyncGenerator[tuple[Chunk, ...]]:
    """The items of `cutting`, each computed in a thread while the one before is stored and sent.

    Of a file that will not be whole, nothing counts that comes after its end was found. Raises UploadStopped.
    """

    async def step() -> tuple[Chunk, ...] | None:
        # A file that arrives waits for its sender, and must not have all others wait too.
        async with contextlib.nullcontext() if arrival else steps:
            try:
                return await asyncio.to_thread(next, cutting, None)
            finally:
                if arrival:
                    arrival.check()

    coming = asyncio.create_task(step())
    try:
        while (chunks := await asyncio.shield(coming)) is not None:  # cancelling does not end a thread
            coming = asyncio.create_task(step())
            yield chunks
    finally:
        # The thread must leave the decoder before that is closed. Nobody needs its last result or error.
        if arrival:
            arrival.file.end()
        await asyncio.wait({coming})
        if not coming.cancelled():
            coming.exception()
