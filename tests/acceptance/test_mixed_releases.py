"""A fleet of two releases. No older release exists yet, so the test makes up the newer one's messages."""

import asyncio
import json

from tests.harness import DATA, ended, reference, upload
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import pause, resume
from v2t_stream.topology.streams import JOBS

NEWS = {"from_the_future": {"deep": [1]}}


async def test_a_job_with_facts_of_a_newer_release_is_done_by_this_one(connection: Connection) -> None:
    """Else a fleet must be updated all at once, with no jobs running."""
    media = await upload(connection, DATA / "20s-3.flac")
    options = {"model": "demo", "language": "en", **NEWS}
    fact = {
        "type": "submitted",
        "job": "mixed",
        "title": "t",
        "media": media,
        "options": options,
        "force": True,
        **NEWS,
    }

    async def store(kind: str, data: bytes) -> None:
        await connection.client.request(f"v2t.job.mixed.{kind}", data, timeout=PATIENCE)

    await store("planned", json.dumps({"type": "planned", "job": "mixed"}).encode())
    await pause(connection, "aggregate")
    try:
        await store("submitted", json.dumps(fact).encode())
        async with asyncio.timeout(PATIENCE):
            while await connection.last(JOBS, "v2t.job.mixed.converted") is None:
                await asyncio.sleep(0.02)
        # The latest of the facts on which the end of the job rests.
        await store("reviewed", b"[]")
    finally:
        await resume(connection, "aggregate")
    job = await ended(connection, "mixed")
    assert job.state == "completed", job.reason
    text = (await JetStreamStore(connection).get("transcripts/mixed/transcript.txt")).decode()
    assert word_error_rate(reference("20s-3.flac"), text) <= 0.05
