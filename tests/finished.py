"""Jobs that have ended, made from their facts and files, without any stage."""

from schemas.events import (
    ChunkDone,
    Completed,
    Done,
)
from schemas.message import Message
from schemas.transcript import Segment, Word
from tests.builders import chunk, completed, converted, dead, downloaded, rerun, submitted
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import previous
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.formats import render_all
from v2t_stream.jobs.lists import read
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.ids import folder

WORDS = ("Call", "me", "Ishmail.")


class Finished:
    """Makes such jobs on a broker."""

    def __init__(self, connection: Connection, store: ObjectStore | None = None) -> None:
        self.connection = connection
        self.store = store or JetStreamStore(connection)

    async def job(self, job: str, *, parent: str | None = None) -> str:
        """A job of one chunk that was transcribed, with everything that is stored with it."""
        for fact in self.facts(job, parent=parent):
            await self.connection.publish(fact)
        await self._store(job, 0)
        await self.store.put(f"media/{job}/source", b"sound")
        await self.connection.publish(dead(job))
        return job

    async def retried(self, job: str, *, keep: bool = False, chunk: bool = False) -> None:
        """A second run, which is completed too."""
        state = await read(self.connection, job)
        assert state.downloaded
        again = rerun(state.downloaded, keeps=() if chunk else (0,), keeps_correction=keep)
        await self.connection.publish(again)
        await self.connection.publish(converted(job, run=1))
        await self._store(job, 1)
        await self.connection.publish(self._completed(job, 1))

    async def before(self, job: str, *, of: str) -> str:
        """A job that was done before as another."""
        await self.connection.publish(submitted(job, title="Again"))
        state = await read(self.connection, of)
        await self.connection.publish(completed(job, transcript=state.transcript, of=of, title="Again", segments=1))
        return job

    def facts(self, job: str, *, parent: str | None = None) -> list[Message]:
        """What is known of such a job."""
        media = downloaded(job, origin=f"origin-{job}")
        return [
            submitted(job, parent=parent),
            media,
            converted(job),
            self.chunk(job),
            Done(
                job=job,
                key=previous.key(media.origin, media.options),
                transcript=f"transcripts/{job}/transcript",
                title="Talk",
            ),
            self._completed(job, 0),
        ]

    def chunk(self, job: str, run: int = 0, words: tuple[str, ...] = WORDS) -> ChunkDone:
        timed = tuple(Word(start=float(n), end=n + 0.5, text=word, probability=0.9) for n, word in enumerate(words))
        segment = Segment(start=0.0, end=float(len(words)), text=" ".join(words), words=timed)
        return chunk(job=job, run=run, segments=(segment,), engine="e", model="m")

    def _completed(self, job: str, run: int) -> Completed:
        return completed(job, run=run, transcript=f"transcripts/{folder(job, run)}/transcript", segments=1)

    async def _store(self, job: str, run: int) -> None:
        record = assemble(await read(self.connection, job))
        for format_, text in render_all(record):
            await self.store.put(f"transcripts/{folder(job, run)}/transcript.{format_}", text.encode())
