"""Jobs with everything that a transcript can have, made from their facts and files, without any stage."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from schemas.message import Message
from schemas.options import Options
from schemas.transcript import Doubt, Gap, Segment, Speaker, Transcript, Unheard, Word
from tests.builders import completed, converted, downloaded, submitted, transcript
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.written import write
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import ObjectStore

T = TypeVar("T")
_SENTENCES: Final = (
    "The mill stood by the river long before my grandfather was born.",
    "Was it already running on steam then?",
    "No, the wheel was still there, and you could hear it in the whole village.",
    "People set their clocks by it, or so my mother used to say.",
    "In the spring of that year the water rose higher than anybody remembered.",
    "And what happened to the bridge?",
    "It held for two days, and on the third it was gone before breakfast.",
)
_PACE: Final = 0.36  # seconds a word: 100,000 words are ten hours
_PAUSE: Final = 0.3  # seconds between two sentences


def speech(words: int, *, seed: int = 1) -> list[Segment]:
    """So many words, or a few more, by two people."""
    chosen, made, at, said = random.Random(seed), list[Segment](), 0.5, 0
    while said < words:
        tokens = chosen.choice(_SENTENCES).split()
        timed = tuple(
            Word(start=round(at + n * _PACE, 2), end=round(at + (n + 0.9) * _PACE, 2), text=token)
            for n, token in enumerate(tokens)
        )
        speaker = "AB"[tokens[-1].endswith("?")]
        made.append(
            Segment(start=timed[0].start, end=timed[-1].end, text=" ".join(tokens), words=timed, speaker=speaker)
        )
        at, said = timed[-1].end + _PAUSE, said + len(tokens)
    return made


def interview(job: str) -> Transcript:
    """Two people, one of them with a name; a gap, speech without words, and words that may never have been said."""
    said = speech(220)
    lost, silent, doubtful = said[6], said[11], said[4]
    kept = [each for each in said if each not in (lost, silent)]
    # A word that no other recording has.
    kept[-1] = msgspec.structs.replace(kept[-1], text="A weathercock stood on the mill.", words=())
    return transcript(
        *kept,
        job=job,
        title="The old mill: an interview",
        source="The old mill.flac",
        duration=said[-1].end,
        speakers=(Speaker(label="A", name="Ann Miller"), Speaker(label="B")),
        gaps=(Gap(chunk=1, start=lost.start, end=lost.end, reason="no engine could do it in 5 tries"),),
        unheard=(Unheard(start=silent.start, end=silent.end),),
        doubtful=(Doubt(start=doubtful.start, end=doubtful.end, reason="no speech detected here"),),
    )


def long(job: str, words: int = 100_000) -> Transcript:
    """Ten hours of talk."""
    said = speech(words)
    title = f"{words:,} words"
    return transcript(*said, job=job, title=title, source=f"{title}.flac", duration=said[-1].end)


def on(url: str, record: Transcript, media: Path | None = None) -> str:
    """The same on the broker with this URL, for tests without an event loop of ours."""
    return connected(url, lambda connection: make(connection, JetStreamStore(connection), record, media))


def connected(url: str, act: Callable[[Connection], Awaitable[T]]) -> T:
    """What `act` returns, done in another thread, as Playwright has a loop in this one."""

    async def run() -> T:
        async with await connect(url, name="test", patience=PATIENCE) as connection:
            return await act(connection)

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(run())).result()


async def make(connection: Connection, store: ObjectStore, record: Transcript, media: Path | None = None) -> str:
    """A job that has ended with this record; returns its id. Without `media` its recording has expired."""
    job, key = record.job, f"media/{record.job}/source{media.suffix if media else '.flac'}"
    options = Options(speakers="2" if record.speakers else None)
    if media:
        await store.put_file(key, media)
    await write(store, f"transcripts/{job}/transcript", record)
    facts: list[Message] = [
        submitted(job, title=record.title, options=options),
        downloaded(job, title=record.title, source=record.source, media=key, options=options),
        converted(job, chunks=0, duration=record.duration, speech=record.duration),
        completed(
            job,
            language=record.language,
            segments=len(record.segments),
            gaps=len(record.gaps),
            unheard=len(record.unheard),
            duration=record.duration,
        ),
    ]
    for fact in facts:
        await connection.publish(fact)
    return job
