"""The models of this machine: each in a folder of its own, whole or not at all.

<root>/<engine>/<name>/          the files, and .manifest.json, whose time is the last use
<root>/<engine>/.<name>.part/    the parts that have arrived so far
<root>/<engine>/.<name>.lock     users hold it shared; a fetch or a removal holds it exclusively
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import Annotated, BinaryIO, Final, NamedTuple

import msgspec
from msgspec import Meta

from v2t_stream import units
from v2t_stream.errors import Retry

_MANIFEST: Final = ".manifest.json"
_BUSY_DELAY: Final = 60.0  # seconds until the next search for room


class ModelFile(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]  # cannot leave its folder, whoever wrote it
    size: Annotated[int, Meta(ge=0)]  # bytes
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a model and its first source."""

    engine: str
    name: str
    files: tuple[ModelFile, ...]
    source: str  # a URL, or a folder of another program
    revision: str = ""  # the hub's commit

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Kept(NamedTuple):
    """A model on this machine, for a list."""

    key: str
    name: str
    size: int  # bytes on the disk
    used: float  # Unix time
    whole: bool


class ModelFolder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, key: str) -> Path:
        """The folder of a whole model."""
        return self._root / key

    def staging(self, key: str) -> Path:
        """The folder for its parts."""
        engine, _, name = key.partition("/")
        return self._root / engine / f".{name}.part"

    def manifest(self, key: str) -> Manifest | None:
        """The manifest of a model whose files all exist, by their sizes; otherwise None."""
        place = self.place(key)
        try:
            manifest = msgspec.json.decode((place / _MANIFEST).read_bytes(), type=Manifest)
            whole = all((place / file.name).stat().st_size == file.size for file in manifest.files)
        except (OSError, msgspec.DecodeError):
            return None
        return manifest if whole else None

    def damaged(self, key: str, manifest: Manifest) -> list[str]:
        """The files whose bytes differ from the manifest. It reads them all."""
        place = self.place(key)
        return [file.name for file in manifest.files if sha256_of(place / file.name) != file.sha256]

    def adopt(self, key: str, manifest: Manifest) -> None:
        """Turn the gathered parts into the model. Needs the exclusive lock."""
        staging = self.staging(key)
        for left in {path.name for path in staging.iterdir()} - {file.name for file in manifest.files}:
            (staging / left).unlink()
        (staging / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        shutil.rmtree(self.place(key), ignore_errors=True)
        staging.replace(self.place(key))

    def touch(self, key: str) -> None:
        """Record a use of the model."""
        with contextlib.suppress(OSError):  # a read-only disk keeps no last use
            os.utime(self.place(key) / _MANIFEST)

    def remove(self, key: str) -> None:
        """Remove it and its parts. Needs the exclusive lock."""
        (self.place(key) / _MANIFEST).unlink(missing_ok=True)  # first, so that the rest no longer counts as a model
        for folder in (self.place(key), self.staging(key)):
            shutil.rmtree(folder, ignore_errors=True)

    def lock(self, key: str, *, shared: bool = False) -> BinaryIO | None:
        """Take its lock until the file is closed; None if another process's lock prevents that."""
        engine, _, name = key.partition("/")
        path = self._root / engine / f".{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def kept(self) -> list[Kept]:
        """All models on this machine, the least recently used first."""
        found = [self._kept(path) for path in self._root.glob("*/*") if path.is_dir()]
        return sorted((each for each in found if each), key=lambda each: each.used)

    def make_room(self, key: str, missing: int, limit: int) -> None:
        """Make room for `missing` more bytes of the model `key`, within `limit` bytes for all models (0: no limit).

        Removes the least recently used models that nobody uses now. Raises Retry if that is not enough.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        kept = self.kept()
        excess = sum(each.size for each in kept) + missing - limit if limit else 0
        freed, leaving = 0, []
        with contextlib.ExitStack() as locks:
            for each in kept:
                if freed < excess and each.key != key and (lock := self.lock(each.key)):
                    locks.enter_context(lock)
                    leaving.append(each.key)
                    freed += each.size
            if freed < excess:
                raise Retry(
                    f"the models in use and this one need {units.size(limit + excess - freed)}, but V2T_MODELS_BYTES "
                    f"allows {units.size(limit)}: raise it",
                    _BUSY_DELAY,
                )
            if (free := shutil.disk_usage(self._root).free + freed) < missing:
                raise Retry(
                    f"the model needs {units.size(missing)} more, and the disk of {self._root} has {units.size(free)} "
                    "left: free space there, for example with v2t models rm",
                    _BUSY_DELAY,
                )
            for other in leaving:
                self.remove(other)

    def _kept(self, path: Path) -> Kept | None:
        try:
            partial = path.name.startswith(".")
            name = path.name[1:].removesuffix(".part") if partial else path.name
            key = f"{path.parent.name}/{name}"
            manifest = None if partial else self.manifest(key)
            size = sum(file.stat().st_size for file in path.iterdir())
            used = (path / _MANIFEST if manifest else path).stat().st_mtime
        except OSError:  # just removed
            return None
        return Kept(key, manifest.name if manifest else name.replace("--", "/"), size, used, manifest is not None)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
