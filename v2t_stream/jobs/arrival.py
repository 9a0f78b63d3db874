"""The media of a job on this machine's disk, where it may still be arriving from its sender."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from schemas.events import Downloaded
from v2t_stream.audio.arriving import Arriving
from v2t_stream.errors import ObjectMissing
from v2t_stream.host.tasks import end
from v2t_stream.store.pieces import STALL, Pieces, arriving
from v2t_stream.store.protocol import ObjectStore


class Arrival:
    """A file that grows as its pieces come."""

    def __init__(self, file: Arriving, filling: asyncio.Task[None]) -> None:
        self.file = file
        self._filling = filling

    def check(self) -> None:
        """Raises UploadStopped and StoreError if the file will not be whole."""
        if self._filling.done():
            self._filling.result()

    async def whole(self) -> None:
        """Wait until all of it is there. Raises UploadStopped and StoreError."""
        await asyncio.shield(self._filling)


@contextlib.asynccontextmanager
async def fetched(
    store: ObjectStore, media: Downloaded, path: Path, *, stall: float = STALL
) -> AsyncGenerator[Arrival | None]:
    """The media at `path` while the block runs; an Arrival if it is still being uploaded, None if it is whole.

    `stall`: see pieces.arriving. Raises StoreError, and ObjectMissing if there is no such media.
    """
    try:
        await store.get_file(media.media, path, version=media.version)
    except ObjectMissing:
        pieces = Pieces.of(store, media.media)
        if pieces is None or await pieces.manifest() is None:
            raise
    else:
        yield None
        return
    is_over = await pieces.ended()
    file = Arriving(path)
    filling = asyncio.create_task(_fill(store, media.media, file, stall))
    try:
        if is_over:
            await filling
        yield None if is_over else Arrival(file, filling)
    finally:
        file.end()  # whoever waits for more in a thread
        await end(filling)
        file.close()


async def _fill(store: ObjectStore, media: str, file: Arriving, stall: float) -> None:
    try:
        async with aclosing(arriving(store, media, stall=stall)) as pieces:
            async for data in pieces:
                await asyncio.to_thread(file.add, data)
    finally:
        file.end()
