"""The search index follows the jobs and the store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from schemas.events import Cancelled, Listed
from schemas.message import encode
from schemas.transcript import Segment
from tests.builders import completed, downloaded, rerun, submitted, transcript
from tests.harness import Server
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.host.tasks import end
from v2t_stream.search.looking import look
from v2t_stream.serve.board import Board
from v2t_stream.serve.indexing import Indexer
from v2t_stream.store.jetstream_store import JetStreamStore


@contextlib.asynccontextmanager
async def keeping(connection: Connection, path: Path, *, expiry: float = 3600) -> AsyncIterator[None]:
    """Keep the index while the block runs."""
    board = Board(connection)
    indexer = Indexer(JetStreamStore(connection), board, path, expiry=expiry)
    running = [asyncio.create_task(board.run()), asyncio.create_task(indexer.run())]
    yield
    await end(*running)


async def found(path: Path, jobs: set[str]) -> None:
    """Wait until a word is found in these jobs and in no other."""
    async with asyncio.timeout(PATIENCE):
        while True:
            told = look(path, "whale", limit=100)
            if {hit.job for hit in told.hits} == jobs and told.complete:
                return
            await asyncio.sleep(0.05)


async def complete(connection: Connection, job: str) -> None:
    record = transcript(Segment(start=0, end=1, text="a white whale"), job=job)
    await JetStreamStore(connection).put(f"transcripts/{job}/transcript.json", encode(record))
    await connection.publish(submitted(job))
    await connection.publish(completed(job))


async def test_the_index_goes_on_where_it_stopped(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """What happens while no server runs is never found, or found for ever."""
    _, connection = nats
    path = tmp_path / "search" / "index.sqlite"
    await complete(connection, "before")
    await complete(connection, "retried")
    async with keeping(connection, path):
        await found(path, {"before", "retried"})
        await complete(connection, "live")
        await found(path, {"before", "retried", "live"})
    await complete(connection, "meanwhile")
    await connection.publish(rerun(downloaded("retried")))
    await connection.publish(Cancelled(job="live", run=0, removed=True))
    async with keeping(connection, path):
        await found(path, {"before", "meanwhile"})


async def test_entries_of_lists_are_found_until_the_list_is_removed(
    nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """The words of playlists are not found, or stay when the playlist has gone."""
    _, connection = nats
    path = tmp_path / "search" / "index.sqlite"
    async with keeping(connection, path):
        await connection.publish(submitted("list"))
        await connection.publish(Listed(job="list", title="All", children=2))
        await complete(connection, "list_1")
        await found(path, {"list_1"})
        await complete(connection, "list_2")
        await found(path, {"list_1", "list_2"})
        await connection.publish(Cancelled(job="list", removed=True))
        await found(path, set())


async def test_transcripts_that_have_expired_leave(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Whoever opens what was found reads that it has expired."""
    _, connection = nats
    path = tmp_path / "search" / "index.sqlite"
    for job in ("kept", "expired"):
        await complete(connection, job)
    async with keeping(connection, path, expiry=0.1):
        await found(path, {"kept", "expired"})
        await JetStreamStore(connection).delete("transcripts/expired/transcript.json")
        await found(path, {"kept"})


async def test_a_record_that_cannot_be_read_holds_up_no_other(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """One odd transcript, such as a newer release's, and nothing after it is ever found."""
    _, connection = nats
    path = tmp_path / "search" / "index.sqlite"
    await complete(connection, "odd")
    await JetStreamStore(connection).put("transcripts/odd/transcript.json", b'{"segments": 7}')
    await complete(connection, "good")
    async with keeping(connection, path):
        await found(path, {"good"})
