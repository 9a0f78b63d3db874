"""Transcripts as files: written whole or not at all, and never over words that are not v2t's own."""

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import click

from v2t_stream.cli.output import unwritable
from v2t_stream.errors import V2TError
from v2t_stream.host import signals
from v2t_stream.text import one_line, path_text

_RECORD: Final = "written"  # in the data folder: a line for each file that v2t has written, the digest of its bytes
_SHOWN: Final = 3  # names in a line about many files

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace a transcript even if it was edited, or is not by v2t."
)


class Kept(V2TError):
    """Files were kept, because somebody may want what is in them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        names = some(list(map(path_text, paths)))
        if len(paths) == 1:
            said = f"{names} was kept, because it was edited, or is not by v2t: --overwrite replaces it"
        else:
            said = f"{names} were kept, because they were edited, or are not by v2t: --overwrite replaces them"
        super().__init__(said)


class Files:
    """Writes transcripts. A file there that is not as v2t wrote it is kept, unless somebody asks to replace it."""

    def __init__(self, home: Path, *, overwrite: bool) -> None:
        self._record = home / _RECORD
        self._overwrite = overwrite
        self._given_up: set[Path] = set()
        self._writable: set[Path] = set()

    @cached_property
    def _ours(self) -> set[str]:
        try:
            return set(self._record.read_text(errors="replace").split())
        except OSError:
            return set()

    def keeps(self, path: Path) -> bool:
        """Whether there is a file that was edited, or that v2t did not write, and nobody asked to replace it."""
        if self._overwrite or path in self._given_up:
            return False
        try:
            if not path.is_file():  # such as /dev/stdout
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() not in self._ours
        except OSError as error:
            raise unwritable(path, error) from error

    def ask(self, paths: Sequence[Path]) -> None:
        """Ask, on a terminal, whether to replace these files, which would be kept."""
        if not paths or not (os.isatty(0) and os.isatty(2)):
            return
        one = len(paths) == 1
        names = some(list(map(path_text, paths)))
        click.echo(f"{names} {'was edited, or is' if one else 'were edited, or are'} not by v2t.", err=True)
        with signals.leaving():  # in the question, Ctrl-C cannot wait for the event loop
            replaced = click.confirm(f"Replace {'it' if one else 'them'}?", err=True)
        if replaced:
            self._given_up.update(paths)

    def check(self, folder: Path) -> None:
        """Check before the work, not after it, that files can be written into a folder, which may be new."""
        if folder in self._writable:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise unwritable(folder, error) from error
        self._writable.add(folder)

    def write(self, path: Path, data: bytes) -> bool:
        """Whether the file now has these bytes; if not, what was there was kept."""
        try:
            if not _has(path, data):
                if self.keeps(path):
                    return False
                _write(path, data)
        except OSError as error:
            raise unwritable(path, error) from error
        self._note(data)
        return True

    def write_one(self, path: Path, data: bytes) -> None:
        """Write a single file, and ask if something else is there. Raises Kept."""
        if self.keeps(path) and not _has(path, data):
            self.ask([path])
        if not self.write(path, data):
            raise Kept([path])

    def _note(self, data: bytes) -> None:
        digest = _digest(data)
        if digest in self._ours:
            return
        self._ours.add(digest)
        with contextlib.suppress(OSError):  # then the file counts as edited
            self._record.parent.mkdir(parents=True, exist_ok=True)
            with self._record.open("a") as record:
                record.write(f"{digest}\n")


def some(names: Sequence[str]) -> str:
    """The first of these names, and how many there are besides."""
    shown = ", ".join(map(one_line, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _has(path: Path, data: bytes) -> bool:
    """Whether it is a file with exactly these bytes."""
    try:
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()  # a link stays a link
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):  # such as /dev/stdout
        path.write_bytes(data)
        return
    part = path.with_name(f".v2t-{secrets.token_hex(6)}.part")  # short, as the name may be as long as names can be
    try:
        with part.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.write(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
