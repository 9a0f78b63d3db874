"""A file that arrives in pieces: `media/uploads/<id>/<first byte>`, beside a manifest.

A piece is an object that is written once, so pieces can only grow to one sequence of bytes, whoever writes them, and
any process can go on where another has stopped. When all have come, the whole file becomes one object, which is what
everybody else knows, and the pieces go.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final, TypeVar

import msgspec

from schemas.message import decode_as
from schemas.uploads import End, Manifest
from v2t_stream.errors import ObjectMissing, StoreError, UploadStopped
from v2t_stream.store.protocol import UPLOADED, ObjectStore
from v2t_stream.units import size

STALL: Final = 60.0  # seconds without a new piece until an upload counts as given up
_WITHDRAWN: Final = "the upload was withdrawn: send the file again"
_MANIFEST: Final = "upload.json"
_LOOK_EVERY: Final = 0.2  # seconds
_BLOCK: Final = 4 << 20  # bytes read at once

T = TypeVar("T")


class Pieces:
    """The pieces of one upload. All methods raise StoreError."""

    def __init__(self, store: ObjectStore, id_: str) -> None:
        self._store = store
        self._folder = f"{UPLOADED}/{id_}"

    @classmethod
    def of(cls, store: ObjectStore, media: str) -> "Pieces | None":
        """Those of the file that is, or will be, at this key; None if it cannot come in pieces."""
        top, _, rest = media.partition(f"{UPLOADED}/")
        id_, slash, _ = rest.partition("/")
        return cls(store, id_) if id_ and slash and not top else None

    async def begin(self, manifest: Manifest) -> None:
        await self._store.put_new(self._manifest, msgspec.json.encode(manifest))

    async def manifest(self) -> Manifest | None:
        """None if there is no such upload."""
        return await self._read(self._manifest, Manifest)

    async def put(self, at: int, data: bytes) -> bool:
        """Store a piece that begins at that byte; False if another writer has stored one there."""
        return await self._store.put_new(self._piece(at), data)

    async def get(self, at: int) -> bytes:
        """Raises ObjectMissing."""
        return await self._store.get(self._piece(at))

    async def end(self, end: End) -> None:
        """Say that no more pieces will come. The first one to say so counts."""
        await self._store.put_new(self._end, msgspec.json.encode(end))

    async def ended(self) -> End | None:
        """None: more may come."""
        return await self._read(self._end, End)

    async def reach(self, at: int = 0) -> int:
        """How many bytes have come without a gap. `at`: a number of bytes that have come for sure."""
        while length := await self._store.size(self._piece(at)):
            at += length
        return at

    async def drop(self) -> None:
        """Remove the pieces; what is known of the upload stays."""
        at, starts = 0, []
        while length := await self._store.size(self._piece(at)):
            starts.append(at)
            at += length
        for start in reversed(starts):  # so that whoever dies here leaves a row that has no gap
            await self._store.delete(self._piece(start))

    async def forget(self) -> None:
        """Remove all but the whole file. The manifest goes first, so that nobody begins anything with the rest."""
        await self._store.delete(self._manifest)
        await self.drop()
        await self._store.delete(self._end)

    async def _read(self, key: str, kind: type[T]) -> T | None:
        try:
            return decode_as(kind, await self._store.get(key))
        except ObjectMissing:
            return None
        except msgspec.DecodeError as error:  # anybody who may send a file may write there
            raise StoreError(f"{key} in the store cannot be read ({error}): send the file again") from error

    def _piece(self, at: int) -> str:
        return f"{self._folder}/{at:015}"

    @property
    def _manifest(self) -> str:
        return f"{self._folder}/{_MANIFEST}"

    @property
    def _end(self) -> str:
        return f"{self._folder}/end.json"


async def begun(store: ObjectStore) -> list[str]:
    """The ids of all uploads in pieces. Raises StoreError."""
    keys = await store.keys(f"{UPLOADED}/")
    return [key.split("/")[-2] for key in keys if key.endswith(f"/{_MANIFEST}")]


async def arriving(store: ObjectStore, media: str, *, stall: float = STALL) -> AsyncGenerator[bytes]:
    """The bytes of an upload in order, each piece as it comes, until the last.

    `stall`: seconds without a new piece until it is given up. Raises StoreError, and UploadStopped if the file will not
    be whole, with one sentence.
    """
    pieces = Pieces.of(store, media)
    manifest = await pieces.manifest() if pieces else None
    if pieces is None or manifest is None:
        raise UploadStopped(_WITHDRAWN)
    at, latest = 0, time.monotonic()
    while True:
        try:
            data = await pieces.get(at)
        except ObjectMissing:
            pass
        else:
            yield data
            at, latest = at + len(data), time.monotonic()
            continue
        if (whole := await store.size(media)) is not None:  # its pieces are gone, or will be
            while at < whole:
                data = await store.read(media, at, _BLOCK)
                yield data
                at += len(data)
            return
        if _is_whole(await pieces.ended(), manifest, at):
            return
        if await pieces.manifest() is None:
            raise UploadStopped(_WITHDRAWN)
        if time.monotonic() - latest > stall:
            raise UploadStopped(stopped(at, manifest.length or manifest.about))
        await asyncio.sleep(_LOOK_EVERY)


def _is_whole(end: End | None, manifest: Manifest, at: int) -> bool:
    """Whether this many bytes are all. Raises UploadStopped if the rest will not come."""
    if end and end.problem:
        raise UploadStopped(end.problem)
    return at == (end.size if end else manifest.length)


def stopped(at: int, of: int | None) -> str:
    """What happened to an upload of which so many bytes have come, `of` so many."""
    return f"the upload stopped at {size(at)}{f' of {size(of)}' if of else ''}: send it again"
