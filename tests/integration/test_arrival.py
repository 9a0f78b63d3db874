"""Files that arrive in pieces, in both stores, and the stage that reads them meanwhile."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.chunks import ChunkTask
from schemas.events import Converted, Failed
from schemas.message import Message
from schemas.uploads import End, Manifest
from stages.convert import Convert
from tests.builders import downloaded
from tests.harness import DATA, broker, s3_server
from v2t_stream.errors import UploadStopped
from v2t_stream.jobs.arrival import fetched
from v2t_stream.jobs.previous import origin_of
from v2t_stream.retention import DAY
from v2t_stream.runtime.stage import Resources
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.pieces import Pieces, arriving
from v2t_stream.store.protocol import ObjectStore

RECORDING = (DATA / "3min.ogg").read_bytes()
STEP = 50_000  # bytes of a piece
ID = "0123456789abcdef"
MEDIA = f"media/uploads/{ID}/source.ogg"


@pytest.fixture(params=["nats", "minio"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "nats":
        async with broker(tmp_path / "nats") as (_, connection):
            yield JetStreamStore(connection)
        return
    server = s3_server(tmp_path / "minio")
    server.start()
    try:
        store = MinioStore(server.settings())
        await store.create(media_max_age=DAY)
        yield store
    finally:
        server.stop()


async def begun(store: ObjectStore, length: int | None = None) -> Pieces:
    pieces = Pieces(store, ID)
    await pieces.begin(Manifest(media=MEDIA, name="talk.ogg", length=length, begun=time.time()))
    return pieces


async def put(pieces: Pieces, start: int, end: int) -> None:
    for at in range(start, end, STEP):
        assert await pieces.put(at, RECORDING[at : min(at + STEP, end)])


async def read(store: ObjectStore, stall: float = 60.0) -> bytes:
    found = bytearray()
    async with aclosing(arriving(store, MEDIA, stall=stall)) as pieces:
        async for data in pieces:
            found += data
    return bytes(found)


async def test_pieces_are_read_as_they_come_and_written_once(store: ObjectStore) -> None:
    """Two that send at once mix their bytes, or a reader finds a gap."""
    pieces = await begun(store, len(RECORDING))
    reading = asyncio.create_task(read(store))
    await put(pieces, 0, STEP)
    assert not await pieces.put(0, b"another sender's")
    assert await pieces.reach() == await pieces.reach(STEP) == STEP
    await put(pieces, STEP, len(RECORDING))
    assert await reading == RECORDING


async def test_a_reader_goes_on_with_the_whole_file(store: ObjectStore) -> None:
    """Whoever reads the pieces when they become one object has half of them."""
    pieces = await begun(store)
    await put(pieces, 0, 2 * STEP)
    async with aclosing(arriving(store, MEDIA)) as found:
        first = await anext(found)
        await store.put(MEDIA, RECORDING)
        await pieces.drop()
        rest = [data async for data in found]
    assert first + b"".join(rest) == RECORDING


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (lambda _: asyncio.sleep(0), "the upload stopped at 50.0 kB of 80.0 kB: send it again"),
        (lambda pieces: pieces.end(End(size=STEP, problem="it is too large")), "it is too large"),
        (lambda pieces: pieces.forget(), "the upload was withdrawn: send the file again"),
    ],
)
async def test_what_will_not_be_whole_is_not_waited_for(
    store: ObjectStore, happens: Callable[[Pieces], Awaitable[None]], says: str
) -> None:
    """A job waits for ever, or half of a recording counts as all of it."""
    pieces = await begun(store, 80_000)
    await put(pieces, 0, STEP)
    async with aclosing(arriving(store, MEDIA, stall=0.5)) as found:
        assert await anext(found) == RECORDING[:STEP]
        await happens(pieces)
        with pytest.raises(UploadStopped) as error:
            await anext(found)
    assert str(error.value) == says


class Stage:
    """The stage convert on a real store."""

    def __init__(self, store: ObjectStore, home: Path) -> None:
        settings = Settings(data_dir=str(home))
        self._stage = Convert(Resources(settings, cast("Any", None), store, cast("Any", None)))

    async def run(self, enough: Callable[[Message], bool] = lambda _: False) -> list[Message]:
        """What it says about the recording, until it has said enough."""
        said: list[Message] = []
        async with aclosing(self._stage.process(downloaded(media=MEDIA, source="talk.ogg"))) as messages:
            async for message in messages:
                if isinstance(message, ChunkTask | Converted | Failed):
                    said.append(message)
                if enough(message):
                    break
        return said


def cuts(said: list[Message]) -> list[object]:
    return [(task.n, task.spans) for task in said if isinstance(task, ChunkTask)]


async def test_a_stage_that_dies_leaves_the_rest_to_another(store: ObjectStore, tmp_path: Path) -> None:
    """What the first stage has cut has other numbers or other times than what the next one cuts."""
    pieces, stage = await begun(store), Stage(store, tmp_path)
    await put(pieces, 0, 4 * STEP)
    first = await stage.run(lambda message: isinstance(message, ChunkTask))
    assert len(first) == 1, first
    second = asyncio.create_task(stage.run())
    await put(pieces, 4 * STEP, len(RECORDING))
    await pieces.end(End(size=len(RECORDING)))
    early = await second
    assert isinstance(early[-1], Converted)
    assert cuts(early)[:1] == cuts(first)
    await store.put(MEDIA, RECORDING)
    assert cuts(await stage.run()) == cuts(early)


async def test_nothing_is_said_of_the_end_of_half_a_file(store: ObjectStore, tmp_path: Path) -> None:
    """The last words before the line broke are cut off in the middle, and the job is completed."""
    pieces, stage = await begun(store), Stage(store, tmp_path)
    await put(pieces, 0, 4 * STEP)
    running = asyncio.create_task(stage.run())
    await asyncio.sleep(0)
    await pieces.end(End(size=4 * STEP, problem="the upload stopped"))
    said = await running
    assert [message.reason for message in said if isinstance(message, Failed)] == ["the upload stopped"]
    assert not any(isinstance(message, Converted) for message in said)


async def test_what_arrived_is_known_again(store: ObjectStore, tmp_path: Path) -> None:
    """The same recording is done again for everybody who sends it after one who was quick."""
    (tmp_path / "a").write_bytes(RECORDING)
    sha256 = hashlib.sha256(RECORDING).hexdigest()
    assert await origin_of(store, downloaded(media=MEDIA)) == ""
    await store.put_file(MEDIA, tmp_path / "a", sha256=sha256)
    assert await origin_of(store, downloaded(media=MEDIA)) == f"sha256:{sha256}"
    assert await origin_of(store, downloaded(media=MEDIA, run=1)) == ""  # perhaps of two models


async def test_a_file_that_has_come_is_read_as_a_whole(store: ObjectStore, tmp_path: Path) -> None:
    """What can be read only when all is there is read twice, though all of it is there."""
    pieces = await begun(store)
    await put(pieces, 0, len(RECORDING))
    await pieces.end(End(size=len(RECORDING)))
    path = tmp_path / "source"
    async with fetched(store, downloaded(media=MEDIA), path) as arrival:
        assert arrival is None
        assert path.read_bytes() == RECORDING
