"""Where a model is fetched from, and the fetching: it goes on where it was, and only the right bytes count."""

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

OnBytes = Callable[[int], None]  # told how many bytes of something are here; from any thread


class SourceFailed(V2TError):
    """The model cannot be had from this source, at least for now; the text says why, without naming the model."""


class Wanted(NamedTuple):
    """A file of a model, with one of the two hashes that a source may know."""

    name: str
    size: int  # bytes
    sha256: str = ""
    git: str = ""  # the SHA-1 of git's blob

    def is_at(self, path: Path) -> bool:
        """Whether the file lies there. It reads it."""
        try:
            if path.stat().st_size != self.size:
                return False
            return sha256_of(path) == self.sha256 if self.sha256 else _git_of(path) == self.git
        except OSError:
            return False

    def part(self, folder: Path) -> Path:
        """Where it is gathered: by its hash, so that nothing is added to what is left of another version."""
        return folder / f"{self.name}.{(self.sha256 or self.git)[:16]}.part"


class Source(Protocol):
    """One model as one source has it."""

    @property
    def files(self) -> tuple[Wanted, ...]: ...

    async def fetch(self, file: Wanted, part: Path, on_bytes: OnBytes) -> None:
        """Write on in `part` from its end to that of `file`. Where cancelled, nothing is written afterwards.

        Raises SourceFailed, and OSError where the disk fails.
        """


async def gather(source: Source, folder: Path, on_bytes: OnBytes) -> tuple[ModelFile, ...]:
    """Have all files of `source` in `folder`, which may hold some already. Raises as Source.fetch does."""
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
    """How many bytes of a file are here."""
    return part.stat().st_size if part.exists() else 0


def _from(start: int, on_bytes: OnBytes, here: int) -> None:
    on_bytes(start + here)


def _keep(part: Path, path: Path) -> None:
    """Rename it when its bytes are on the disk, so that a power cut leaves no empty file of that name."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _git_of(path: Path) -> str:
    blob = path.read_bytes()  # of what is not in git's large file storage: a few kilobytes
    return hashlib.sha1(b"blob %d\0%b" % (len(blob), blob), usedforsecurity=False).hexdigest()
