"""A source of models, and the fetch from it: it resumes, and accepts only the right bytes."""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from v2t_stream.errors import V2TError
from v2t_stream.host.threads import in_thread
from v2t_stream.models.folder import ModelFile, sha256_of

_log = logging.getLogger(__name__)

OnBytes = Callable[[int], None]  # gets the number of bytes so far; from any thread


class SourceFailed(V2TError):
    """The source cannot provide the model, at least for now; the text says why, without naming the model."""


class Wanted(NamedTuple):
    """A file of a model, with one of two possible hashes."""

    name: str
    size: int  # bytes
    sha256: str = ""
    git: str = ""  # the SHA-1 of the git blob

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` is the right one. It reads the file."""
        try:
            if path.stat().st_size != self.size:
                return False
            return sha256_of(path) == self.sha256 if self.sha256 else _git_of(path) == self.git
        except OSError:
            return False

    def part(self, folder: Path) -> Path:
        """The name of its partial file: by its hash, so that the rest of another version is never continued."""
        return folder / f"{self.name}.{(self.sha256 or self.git)[:16]}.part"


class Source(Protocol):
    """One model at one source."""

    @property
    def files(self) -> tuple[Wanted, ...]: ...

    async def fetch(self, file: Wanted, part: Path, on_bytes: OnBytes) -> None:
        """Continue `part` until it holds all of `file`. Nothing is written after a cancellation.

        Raises SourceFailed, and OSError if the disk fails.
        """


async def gather(source: Source, folder: Path, on_bytes: OnBytes) -> tuple[ModelFile, ...]:
    """Fetch all files of `source` into `folder`, which may hold some already. Raises like Source.fetch."""
    gathered, before = [], 0
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.files:
        path = folder / file.name
        if not await in_thread(partial(file.is_at, path)):
            await _arrive(source, file, path, partial(_from, before, on_bytes))
        before += file.size
        on_bytes(before)
        sha256 = file.sha256 or await in_thread(partial(sha256_of, path))
        gathered.append(ModelFile(file.name, file.size, sha256))
    return tuple(gathered)


async def _arrive(source: Source, file: Wanted, path: Path, on_bytes: OnBytes) -> None:
    part = file.part(path.parent)
    for again in (True, False):
        if arrived(part) > file.size:
            part.unlink()
        await source.fetch(file, part, on_bytes)
        if await in_thread(partial(file.is_at, part)):
            await in_thread(partial(_keep, part, path))
            return
        part.unlink(missing_ok=True)
        if again:
            _log.warning("%s arrived damaged (its checksum does not match): fetching it once more", file.name)
    raise SourceFailed(f"its {file.name} arrived damaged twice")


def arrived(part: Path) -> int:
    """The number of bytes of a file so far."""
    return part.stat().st_size if part.exists() else 0


def _from(start: int, on_bytes: OnBytes, here: int) -> None:
    on_bytes(start + here)


def _keep(part: Path, path: Path) -> None:
    """Rename it once its bytes are on the disk, so that a power cut leaves no empty file of that name."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _git_of(path: Path) -> str:
    blob = path.read_bytes()  # a file outside git's large file storage: a few kilobytes
    return hashlib.sha1(b"blob %d\0%b" % (len(blob), blob), usedforsecurity=False).hexdigest()
