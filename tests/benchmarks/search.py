"""A thousand hours of words in the search index: how long a transcript takes to get in, and a search to answer.

The words are drawn as they are in English: the commonest word is one in fourteen, and most are rare (Zipf).
"""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.message import encode
from schemas.transcript import Segment, Transcript, Word
from tests.benchmarks.report import Row
from tests.builders import transcript
from v2t_stream.host.threads import in_thread
from v2t_stream.search.index import Index, Lines
from v2t_stream.search.looking import look

_JOBS = 1000  # of one hour each
_WORDS = 9000  # in an hour
_LONG = 100_000  # words of ten hours
_SEGMENT = 10  # words
_VOCABULARY = 60_000
_TIMES = 20  # that each search is done
_QUERIES = {
    "a rare word": "w30000",
    "a common word": "w5",
    "the commonest word": "w0",
    "two common words": "w0 w1",
    "a phrase of common words": '"w0 w1"',
    "a beginning": "w30*",
    "a letter, with which every word begins": "w*",
}


async def run(folder: Path) -> list[Row]:
    path = folder / "search.sqlite"
    index, drawn = Index(path), random.Random(1)  # nothing secret
    names = [f"w{n}" for n in range(_VOCABULARY)]
    weights = list(itertools.accumulate(1 / (n + 1.7) for n in range(_VOCABULARY)))
    began = time.monotonic()
    for n in range(_JOBS):
        record = _spoken(drawn.choices(names, cum_weights=weights, k=_WORDS))
        await in_thread(lambda record=record, n=n: _put(index, f"job{n}", f"key{n % 10}", encode(record)))
    built = time.monotonic() - began
    index.set_complete(yes=True)
    rows = [
        Row(
            f"the search index of {_JOBS:,} hours, {_JOBS * _WORDS / 1e6:.0f} million words, is built",
            "",
            f"{built:.0f} s, {path.stat().st_size / 1e6:.0f} MB",
        )
    ]
    for what, words in _QUERIES.items():
        rows.append(_searched(path, f"searches for {what}", words))
    rows.append(_searched(path, "searches for the commonest word, with a key that sees a tenth", "w0", owner="key3"))
    long = encode(_spoken(drawn.choices(names, cum_weights=weights, k=_LONG), times=True))
    async with _held_up() as waits:
        began = time.monotonic()
        await in_thread(lambda: _put(index, "long", "", long))
        took = time.monotonic() - began
    index.close()
    rows.append(
        Row(
            f"a transcript of {_LONG:,} words, {len(long) / 1e6:.0f} MB, gets into the index of {_JOBS:,} hours",
            "at most 3 s, others waiting at most 100 ms",
            f"{took:.2f} s, others waited at most {max(waits) * 1000:.0f} ms",
            took <= 3 and max(waits) <= 0.1,
        )
    )
    return rows


def _spoken(words: list[str], *, times: bool = False) -> Transcript:
    segments = []
    for n in range(0, len(words), _SEGMENT):
        said = words[n : n + _SEGMENT]
        timed = tuple(
            Word(start=n + k / 10, end=n + k / 10 + 0.1, text=f" {word}", probability=0.9)
            for k, word in enumerate(said)
        )
        segments.append(Segment(start=n, end=n + 1, text=" ".join(said), words=timed if times else ()))
    return transcript(*segments)


def _put(index: Index, job: str, owner: str, record: bytes) -> None:
    index.replace(job, f"transcripts/{job}/transcript", owner, Lines.of(record))


def _searched(path: Path, what: str, words: str, *, owner: str | None = None) -> Row:
    took = []
    for _ in range(_TIMES):
        began = time.monotonic()
        hits = look(path, words, limit=50, owner=owner).hits
        took.append(1000 * (time.monotonic() - began))
    median, most = statistics.median(took), max(took)
    return Row(what, "at most 50 ms", f"{median:.1f} ms, at most {most:.1f}; {len(hits)} places", median <= 50)


@asynccontextmanager
async def _held_up() -> AsyncIterator[list[float]]:
    """How much later than they should the loop did small things while the block ran, in seconds."""
    waits: list[float] = []

    async def tick() -> None:
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            waits.append(time.monotonic() - due)

    ticking = asyncio.create_task(tick())
    yield waits
    ticking.cancel()
