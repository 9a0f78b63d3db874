"""Models in the object store, for machines that can reach the fleet but not the internet.

models/<engine>/<name>/manifest.json        its files; stored last, so everything named in it exists
models/<engine>/<name>/<sha256>/<n>         the n-th part of the file of that hash

There are parts because a store handles an object only as a whole: an interrupted transfer resumes at the next part.
"""

from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from schemas.message import decode_as
from v2t_stream.errors import ObjectMissing, StoreError
from v2t_stream.host.threads import in_thread
from v2t_stream.models.folder import Manifest
from v2t_stream.models.source import OnBytes, SourceFailed, Wanted, arrived
from v2t_stream.store.protocol import ObjectStore

PART: Final = 8 << 20  # bytes; one request in both stores, and little to repeat
_MANIFEST: Final = "manifest.json"
_IDLE: Final = 3600.0  # seconds


class SharedModel:
    """See source.Source."""

    def __init__(self, store: ObjectStore, key: str, manifest: Manifest) -> None:
        self.manifest = manifest
        self.source, self.revision = manifest.source, manifest.revision
        self.files = tuple(Wanted(file.name, file.size, file.sha256) for file in manifest.files)
        self._store = store
        self._prefix = _prefix(key)

    async def fetch(self, file: Wanted, part: Path, on_bytes: OnBytes) -> None:
        """See source.Source."""
        here = arrived(part) // PART * PART
        with part.open("ab") as sink:
            sink.truncate(here)
            while here < file.size:
                try:
                    data = await self._store.get(f"{self._prefix}{file.sha256}/{here // PART}")
                except StoreError as error:
                    raise SourceFailed(str(error)) from error
                await in_thread(partial(_write, sink, data))
                here += len(data)
                on_bytes(here)
                if not data:
                    break  # damaged; the checksum will show it


async def find(store: ObjectStore, key: str) -> SharedModel | None:
    """The fleet's shared model under this key, if any. Raises SourceFailed."""
    try:
        manifest = decode_as(Manifest, await store.get(f"{_prefix(key)}{_MANIFEST}"))
    except ObjectMissing:
        return None
    except StoreError as error:
        raise SourceFailed(str(error)) from error
    except msgspec.DecodeError as error:
        raise SourceFailed(f"its manifest cannot be read ({error}): share it again") from error
    return SharedModel(store, key, manifest)


async def shared(store: ObjectStore) -> dict[str, Manifest]:
    """All shared models of the fleet, by key. Raises StoreError."""
    found = {}
    for name in await store.keys("models/"):
        key = name.removeprefix("models/").removesuffix(f"/{_MANIFEST}")
        if name.endswith(f"/{_MANIFEST}"):
            try:
                model = await find(store, key)
            except SourceFailed:
                continue  # `find` reports it to whoever needs the model
            if model:
                found[key] = model.manifest
    return found


async def share(
    store: ObjectStore, key: str, folder: Path, manifest: Manifest, on_bytes: OnBytes, *, idle: float = _IDLE
) -> bool:
    """Store the model in `folder`, except parts already there; False if all were. Raises StoreError.

    `idle`: seconds without a new byte after which another process that shares a model counts as dead.
    """
    await store.sweep("models", idle=idle)  # the rest of a killed share
    prefix = _prefix(key)
    try:
        before = await find(store, key)
    except SourceFailed:
        before = None  # replace it
    there = set(await store.keys(prefix))
    wanted = {f"{prefix}{_MANIFEST}"}
    done = sent = 0
    for file in manifest.files:
        with (folder / file.name).open("rb") as source:
            for n, start in enumerate(range(0, file.size, PART)):
                part = f"{prefix}{file.sha256}/{n}"
                wanted.add(part)
                size = min(PART, file.size - start)
                if part not in there:
                    await store.put(part, await in_thread(partial(_read, source, start)))
                    sent += size
                done += size
                on_bytes(done)
    if not sent and before and before.manifest.files == manifest.files:
        return False
    await store.put(f"{prefix}{_MANIFEST}", msgspec.json.format(msgspec.json.encode(manifest)))
    for left in there - wanted:  # parts of another version
        await store.delete(left)
    return True


async def withdraw(store: ObjectStore, key: str) -> int:
    """Remove it from the store; returns how many objects there were. Raises StoreError."""
    await store.delete(f"{_prefix(key)}{_MANIFEST}")  # first: without it the rest does not count
    return await store.delete_prefix(_prefix(key))


def _prefix(key: str) -> str:
    return f"models/{key}/"


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)
    sink.flush()


def _read(source: BinaryIO, start: int) -> bytes:
    source.seek(start)
    return source.read(PART)
