"""Jobs that have ended, made from their facts and files, without any stage."""

from schemas.events import (
    ChunkDone,
    Completed,
    Converted,
    DeadLetter,
    Done,
    Downloaded,
    Rerun,
    Submitted,
)
from schemas.message import Message
from schemas.transcript import Segment, Word
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import previous
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.formats import render_all
from v2t_stream.jobs.lists import read
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import folder

WORDS = ("Call", "me", "Ishmail.")


class Finished:
    """Makes such jobs on a broker."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.store = JetStreamStore(connection)

    async def job(self, job: str, *, parent: str | None = None) -> str:
        """A job of one chunk that was transcribed, with everything that is stored with it."""
        for fact in self.facts(job, parent=parent):
            await self.connection.publish(fact)
        await self._store(job, 0)
        await self.store.put(f"media/{job}/source", b"sound")
        letter = DeadLetter(
            job=job, stage="download", reason="once", original_subject="x", data=b"", deliveries=1, node="n"
        )
        await self.connection.publish(letter)
        return job

    async def retried(self, job: str, *, keep: bool = False, chunk: bool = False) -> None:
        """A second run, which is completed too."""
        state = await read(self.connection, job)
        assert state.downloaded
        rerun = Rerun(job=job, run=1, begins=state.downloaded, keeps=() if chunk else (0,), keeps_correction=keep)
        await self.connection.publish(rerun)
        await self.connection.publish(Converted(job=job, run=1, chunks=1, duration=30.0, speech=20.0, seconds=1.0))
        await self._store(job, 1)
        await self.connection.publish(self._completed(job, 1))

    async def before(self, job: str, *, of: str) -> str:
        """A job that was done before as another."""
        await self.connection.publish(Submitted(job=job, title="Again", url="http://x/again"))
        state = await read(self.connection, of)
        end = Completed(job=job, transcript=state.transcript, of=of, title="Again", segments=1)
        await self.connection.publish(end)
        return job

    def facts(self, job: str, *, parent: str | None = None) -> list[Message]:
        """What is known of such a job."""
        media = Downloaded(
            job=job,
            title="Talk",
            source="http://x/y",
            media=f"media/{job}/source",
            size=1,
            seconds=1,
            origin=f"origin-{job}",
        )
        return [
            Submitted(job=job, title="Talk", url="http://x/y", parent=parent),
            media,
            Converted(job=job, chunks=1, duration=30.0, speech=20.0, seconds=1.0),
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
        return ChunkDone(job=job, run=run, n=0, start=0.0, end=30.0, segments=(segment,), engine="e", model="m")

    def _completed(self, job: str, run: int) -> Completed:
        return Completed(job=job, run=run, transcript=f"transcripts/{folder(job, run)}/transcript", segments=1)

    async def _store(self, job: str, run: int) -> None:
        record = assemble(await read(self.connection, job))
        for format_, text in render_all(record):
            await self.store.put(f"transcripts/{folder(job, run)}/transcript.{format_}", text.encode())
