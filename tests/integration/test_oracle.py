"""The oracle of test_chaos finds false results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from tests.builders import failed, rerun
from tests.harness import DATA, Simulated, ended, simulated
from tests.oracle import Oracle, Recording
from tests.people import Offer, People
from v2t_stream.broker.connect import connect
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.store.jetstream_store import JetStreamStore

MODELS: Final = ("sim/x1000-signed", "sim/x1001-signed")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Simulated]:
    with simulated(tmp_path / "simulated") as machines:
        yield machines


async def test_what_is_false_does_not_escape_the_oracle(machines: Simulated, tmp_path: Path) -> None:
    """Else test_chaos passes whatever happens."""
    recording = Recording("a clip", DATA / "20s-1.flac")
    async with await connect(machines.server.url, name="test") as connection:
        people = People(connection, Offer([recording], MODELS, ""), tmp_path / "person", 0)
        for model in MODELS:
            await ended(connection, await people.submit_as(recording, model, force=True))
        oracle, store = Oracle(connection, [recording]), JetStreamStore(connection)
        for job in (await oracle.jobs()).values():
            await oracle.learn(job)
        assert not await oracle.problems()
        assert oracle.compared == 2 * len(MODELS)
        prefix = f"transcripts/{people.jobs[0]}/transcript"
        for name in FORMATS:
            text = await store.get(f"{prefix}.{name}")
            for false in (text.replace(b"x1000", b"x1001"), text.replace(b"part 3", b"part 4"), b""):
                assert false != text
                await store.put(f"{prefix}.{name}", false)
                assert len(await oracle.problems()) == 2  # as its own transcript, and as what is remembered
            await store.put(f"{prefix}.{name}", text)
        again = (await oracle.jobs())[people.jobs[0]]
        assert again.downloaded
        await store.put(f"transcripts/{again.id}/7/transcript.srt", b"of a run that never was")
        await connection.publish(failed("other"))
        await connection.publish(rerun(again.downloaded, keeps=(0,)))
        await connection.publish(replace(again.chunks[0], run=1, model=MODELS[1]))
        found = "\n".join(await oracle.problems())
    for problem in ("nothing points to", "it failed: bad", "it is transcribing", "chunk 0 is by", "which it keeps"):
        assert problem in found
