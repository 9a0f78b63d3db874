"""A file on its way to the store."""

import hashlib
import secrets
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from aiohttp import web

from schemas.uploads import End, Manifest
from v2t_stream.host.scratch import scratch
from v2t_stream.host.threads import in_thread
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.early import EARLY
from v2t_stream.serve.gate import caller, most_bytes
from v2t_stream.serve.problems import Problem
from v2t_stream.store.pieces import Pieces, stopped
from v2t_stream.store.protocol import UPLOADED
from v2t_stream.text import path_text
from v2t_stream.units import size

_FOLDER: Final = "serve"


class Upload(NamedTuple):
    """A file that somebody has sent, in the store."""

    key: str
    name: str
    sha256: str  # empty while it is still on its way


def key_of(id_: str, name: str) -> str:
    """Where the file is when all of it is there."""
    return f"{UPLOADED}/{id_}/source{path_text(Path(name).suffix)}"


class Spool:
    """Keeps the bytes on disk until the last; a job that has begun reads them from the store, piece by piece."""

    def __init__(self, request: web.Request, name: str) -> None:
        self.name = path_text(Path(name).name)
        self.received = 0
        self._id = secrets.token_hex(12)
        self.key = key_of(self._id, self.name)
        self._request = request
        self._store = request.app[PIPELINE].store
        self._digest = hashlib.sha256()
        self._file = tempfile.NamedTemporaryFile(dir=scratch(request.app[SETTINGS].home, _FOLDER))  # noqa: SIM115  # with self
        self._pieces: Pieces | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request.app[EARLY].end(self._id)
        self._file.close()

    @property
    def has_begun(self) -> bool:
        """Whether a job may read it by now."""
        return self._pieces is not None

    async def begin(self) -> None:
        """Let a job read it from now on; before its first bytes."""
        self._request.app[EARLY].begin(self._id)
        pieces = Pieces(self._store, self._id)
        await pieces.begin(
            Manifest(
                media=self.key,
                name=self.name,
                about=self._request.content_length,
                begun=time.time(),
                owner=caller(self._request).id,
            )
        )
        self._pieces = pieces

    async def take(self, data: bytes) -> None:
        """Raises Problem if it becomes too large."""
        most, at = most_bytes(self._request), self.received
        self.received += len(data)
        if self.received > most:
            raise Problem(413, f"{self.name} is larger than the allowed {size(most)}: raise V2T_MAX_BYTES")
        await in_thread(lambda: self._keep(data))
        if self._pieces:
            await self._pieces.put(at, data)
            self._request.app[EARLY].touch(self._id)

    def _keep(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    async def finish(self) -> Upload:
        """Store the whole file. The job that has begun need not wait for that."""
        if self._pieces:
            await self._pieces.end(End(size=self.received))
        await in_thread(self._file.flush)
        await self._store.put_file(self.key, Path(self._file.name), sha256=self._digest.hexdigest())
        if self._pieces:
            await self._pieces.drop()
        return Upload(self.key, self.name, self._digest.hexdigest())

    async def fail(self, why: str) -> None:
        """No more will come: the job that has begun fails with this sentence; without one, because the sender left."""
        if self._pieces:
            problem = why or stopped(self.received, self._request.content_length)
            await self._pieces.end(End(size=self.received, problem=problem))
