"""Uploads that go on after an interruption: all that is known of them is in the store."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web

from schemas.uploads import End, Manifest
from v2t_stream.errors import Taken, V2TError
from v2t_stream.host import tasks
from v2t_stream.host.scratch import scratch
from v2t_stream.host.threads import in_thread
from v2t_stream.retention import DAY, HOUR
from v2t_stream.runtime.session import Session
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.early import EARLY
from v2t_stream.serve.gate import caller
from v2t_stream.serve.gathering import gathered
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.spool import Upload, key_of
from v2t_stream.settings import Settings
from v2t_stream.store.pieces import STALL, Pieces, arriving, begun
from v2t_stream.text import path_text
from v2t_stream.units import size

log = logging.getLogger(__name__)

LASTS: Final = DAY  # seconds in which an upload must end
_SWEEP_EVERY: Final = HOUR
_REMEMBERED: Final = 1000  # uploads


class Running(NamedTuple):
    """An upload, and how far it has come."""

    id: str
    manifest: Manifest
    pieces: Pieces
    end: End | None
    offset: int  # bytes that are in the store

    @property
    def length(self) -> int:
        return self.manifest.length or 0

    @property
    def expires(self) -> float:
        """Unix seconds."""
        return self.manifest.begun + LASTS


class Reached:
    """How far uploads have come for sure, so that not every request has to look at all their pieces."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()

    def of(self, id_: str) -> int:
        return self._known.get(id_, 0)

    def note(self, id_: str, offset: int) -> None:
        self._known[id_] = offset
        self._known.move_to_end(id_)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


REACHED: Final = web.AppKey("reached", Reached)


async def create(request: web.Request, *, name: str, length: int, metadata: str) -> Running:
    id_, name = secrets.token_hex(12), path_text(Path(name).name)
    manifest = Manifest(
        media=key_of(id_, name),
        name=name,
        length=length,
        begun=time.time(),
        owner=caller(request).id,
        metadata=metadata,
    )
    pieces = Pieces(request.app[PIPELINE].store, id_)
    await pieces.begin(manifest)
    return Running(id_, manifest, pieces, None, 0)


async def find(request: web.Request, id_: str) -> Running:
    """The caller's upload. Raises Problem if there is none, or no longer."""
    pieces = Pieces(request.app[PIPELINE].store, id_)
    manifest = await pieces.manifest() if id_.isalnum() else None
    who = caller(request)
    if manifest is None:
        request.app[EARLY].end(id_)
    if manifest is None or manifest.length is None or (manifest.owner != who.id and who.role != "operator"):
        raise Problem(404, f"there is no upload {id_!r}: POST /v1/uploads begins one", code="not_found")
    end = await pieces.ended()
    if not end and time.time() > manifest.begun + LASTS:
        raise Problem(410, f"the upload {id_} has expired: begin it again with POST /v1/uploads")
    known = request.app[REACHED]
    offset = end.size if end else await pieces.reach(known.of(id_))
    known.note(id_, offset)
    return Running(id_, manifest, pieces, end, offset)


async def append(request: web.Request, to: Running, read: Callable[[], Awaitable[bytes]]) -> int:
    """Store what `read` gives until it gives nothing; returns how far the upload has come.

    What has come before an interruption stays. Raises Problem if another request has stored other bytes at this place.
    """
    at = to.offset
    async with aclosing(gathered(read)) as pieces:
        async for piece in pieces:
            if at + len(piece.data) > to.length:
                raise Problem(413, f"more than the declared {size(to.length)} came: begin another upload")
            if await to.pieces.manifest() is None:
                raise Problem(410, f"the upload {to.id} was removed, perhaps with its job: begin it again")
            if not await to.pieces.put(at, piece.data):
                raise Problem(409, f"another request sends to the upload {to.id} too: ask with HEAD how far it is")
            at += len(piece.data)
            request.app[REACHED].note(to.id, at)
            request.app[EARLY].touch(to.id)
    if at == to.length:
        await to.pieces.end(End(size=at))
        request.app[EARLY].end(to.id)
        await _assemble(request.app[PIPELINE], request.app[SETTINGS], to.manifest, to.pieces)
    return at


async def _assemble(pipeline: Session, settings: Settings, manifest: Manifest, pieces: Pieces) -> None:
    """Make one object of all pieces; of two that do, one has nothing left to do."""
    if await pipeline.store.size(manifest.media) is not None:
        await pieces.drop()
        return
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=scratch(settings.home, "serve")) as file:

        def keep(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        async with aclosing(arriving(pipeline.store, manifest.media)) as found:
            async for data in found:
                await in_thread(lambda data=data: keep(data))  # type: ignore[misc]
        await in_thread(file.flush)
        with contextlib.suppress(Taken):
            await pipeline.store.put_file(manifest.media, Path(file.name), sha256=digest.hexdigest())
    await pieces.drop()


async def named(request: web.Request, id_: str) -> Upload:
    """The file of an upload, for a job; one that still runs if the fleet can read it meanwhile. Raises Problem."""
    found = await find(request, id_)
    manifest, store = found.manifest, request.app[PIPELINE].store
    if sha256 := await store.sha256(manifest.media):
        return Upload(manifest.media, manifest.name, sha256)
    if found.end:
        await _assemble(request.app[PIPELINE], request.app[SETTINGS], manifest, found.pieces)
    elif await request.app[EARLY].may_begin(request):
        request.app[EARLY].begin(id_)
    else:
        raise Problem(
            409,
            f"{size(found.offset)} of {size(found.length)} of the upload {id_} have come, and no node can begin with "
            "them: send the rest first",
        )
    return Upload(manifest.media, manifest.name, await store.sha256(manifest.media) or "")


async def remove(request: web.Request, found: Running) -> None:
    """Remove an upload, and its file."""
    request.app[EARLY].end(found.id)
    store = request.app[PIPELINE].store
    await found.pieces.forget()
    await store.delete(found.manifest.media)


async def swept(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, remove uploads that were never finished, and finish those whose server died."""
    sweeping = asyncio.create_task(_sweep_for_ever(app[PIPELINE], app[SETTINGS]))
    yield
    await tasks.end(sweeping)


async def _sweep_for_ever(pipeline: Session, settings: Settings) -> None:
    while True:
        try:
            await sweep(pipeline, settings)
        except V2TError as error:
            log.warning("old uploads are not removed: %s", error)
        await asyncio.sleep(_SWEEP_EVERY)


async def sweep(pipeline: Session, settings: Settings, *, lasts: float = LASTS, settled: float = 10 * STALL) -> None:
    """`lasts`: seconds in which an upload must end; `settled`: from when on nobody else can be about to finish it."""
    async with aclosing(_all(pipeline)) as uploads:
        async for pieces, manifest in uploads:
            age, end = time.time() - manifest.begun, await pieces.ended()
            if age > lasts:
                await pieces.forget()
            elif end and not end.problem and age > settled:
                await _assemble(pipeline, settings, manifest, pieces)


async def _all(pipeline: Session) -> AsyncGenerator[tuple[Pieces, Manifest]]:
    for id_ in await begun(pipeline.store):
        pieces = Pieces(pipeline.store, id_)
        if manifest := await pieces.manifest():
            yield pieces, manifest
