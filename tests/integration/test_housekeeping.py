"""The housekeeping that one intake does for the fleet, on a real nats-server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders import completed, rerun, submitted
from tests.harness import broker
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import StoreAway
from v2t_stream.fleet.presence import Presence, tell
from v2t_stream.runtime import housekeeping
from v2t_stream.runtime.housekeeping import keep_house
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with broker(tmp_path / "nats") as (_, connection):
        yield connection


class Swept(JetStreamStore):
    """Takes everything that no object names for an orphan at once; where `away`, it cannot be reached at first."""

    def __init__(self, connection: Connection, *, away: bool = False) -> None:
        super().__init__(connection)
        self.away = away
        self.done = asyncio.Event()

    async def sweep(self, top: str, *, idle: float = 0.0) -> int:
        if self.away:
            self.away = False
            raise StoreAway("away")
        swept = await super().sweep(top, idle=0)
        if top == "transcripts":
            self.done.set()
        return swept


@contextlib.asynccontextmanager
async def keeping(connection: Connection, store: Swept, node: str) -> AsyncIterator[None]:
    presence = Presence(node, "intake")
    await tell(connection, presence.info())
    await connection.client.flush()
    task = asyncio.create_task(keep_house(connection, store, Settings(), presence, again=0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("away", [False, True])
async def test_what_a_killed_writer_left_is_removed_by_the_product(connection: Connection, *, away: bool) -> None:
    """Else the disk fills with data that no object names, or one outage ends the sweeping."""
    store = Swept(connection, away=away)
    await store.put("transcripts/j/t", b"kept")
    begun = submitted("k")
    for fact in (begun, rerun(begun), completed("k", run=1, transcript="transcripts/k/1/t")):
        await connection.publish(fact)
    await store.put("transcripts/k/transcript.srt", b"the first run's")
    orphan = "$O.v2t_transcripts.C.orphan"
    await connection.client.jetstream().publish(orphan, b"left by a writer that was killed")
    async with keeping(connection, store, "m4"), asyncio.timeout(PATIENCE):
        await store.done.wait()
    assert not await connection.subjects("OBJ_v2t_transcripts", orphan)
    assert await store.keys("transcripts/") == ["transcripts/j/t"]


async def test_one_intake_does_it_for_all(connection: Connection) -> None:
    """Else fifty nodes list the same bucket every five minutes."""
    ours, theirs = Presence("b", "intake"), Presence("a", "intake")
    assert await housekeeping._is_first(connection, ours)  # nobody has told of himself yet
    for presence in (ours, Presence("a", "convert")):
        await tell(connection, presence.info())
    await connection.client.flush()
    assert await housekeeping._is_first(connection, ours)
    await tell(connection, theirs.info())
    await connection.client.flush()
    assert not await housekeeping._is_first(connection, ours)
    assert await housekeeping._is_first(connection, theirs)
