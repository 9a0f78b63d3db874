"""From the words of a command line to files: files, folders, patterns, pipes."""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import click

from v2t_stream.cli.pipes import STDIN
from v2t_stream.errors import SettingsError
from v2t_stream.text import one_line, path_text, quoted, without_secrets

_LINK: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SITE: Final = re.compile(r"[\w-]+(\.[\w-]+)+/")  # the beginning of a link without https://
_FILE: Final = "file://"
_OF_STDIN: Final = (STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class Input(NamedTuple):
    """A file that may be a recording, or a pipe."""

    path: Path
    name: str  # without folders
    whole: Path | None  # the path of its transcript with the suffix of the recording; None: it is printed
    is_pipe: bool = False
    is_named: bool = True  # by itself, and not found in a folder

    @property
    def short(self) -> Path | None:
        """The path of its transcript without the suffix of the recording."""
        return self.whole.with_suffix("") if self.whole and not self.is_pipe else self.whole


class Inputs:
    """All files that `words` name, each once. Transcripts go beside the recordings, or into the folder `output`.

    Raises click.UsageError if a word names nothing, and SettingsError if it is a link.
    """

    def __init__(self, words: Sequence[str], output: Path | None) -> None:
        self.output = output
        self.files: list[Input] = []
        self.repeated: list[Path] = []  # links to files that are there already
        self.linked: list[Path] = []  # links to folders, which may lead anywhere, also in a circle
        self.unread: list[OSError] = []  # folders
        self._seen: dict[str, str] = {}  # by the path without links, the path with them
        if not words:
            raise click.UsageError("name a file, a folder, or - for standard input, as in v2t convert talk.mp4")
        paths = [path for word in words for path in _paths(word)]
        for path in sorted(paths, key=Path.is_dir):  # a file that is named stays so, even if a folder has it too
            if is_pipe(path):
                self._add_pipe(path)
            elif path.is_dir():
                for file in self._below(path):
                    self._add(file, root=path, is_named=False)
            else:
                self._add(path, root=path.parent, is_named=True)
        if self.prints and len(self.files) > 1:
            raise click.UsageError("several transcripts cannot be printed: give a folder for them with --output")

    @property
    def prints(self) -> bool:
        """Whether a transcript has no place but standard output."""
        return any(file.whole is None for file in self.files)

    def _add(self, path: Path, *, root: Path, is_named: bool) -> None:
        itself, as_named = os.path.realpath(path), os.path.abspath(path)  # noqa: PTH100  # it keeps links
        if itself in self._seen:
            if self._seen[itself] != as_named:
                self.repeated.append(path)
            return
        self._seen[itself] = as_named
        whole = self.output / path.relative_to(root) if self.output else path
        self.files.append(Input(path, path.name, whole, is_named=is_named))

    def _add_pipe(self, path: Path) -> None:
        if str(path) == STDIN and os.isatty(0):
            raise click.UsageError("- stands for a recording on standard input, as in cat talk.mp4 | v2t convert -")
        if any(path == file.path for file in self.files):
            return
        name = _pipe_name(path)
        taken = {file.name for file in self.files if file.is_pipe}
        free = next(each for each in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)
        self.files.append(Input(path, free, self.output / free if self.output else None, is_pipe=True))

    def _below(self, folder: Path) -> Iterator[Path]:
        """All files in a folder and below it, except hidden ones."""
        for root, folders, names in os.walk(folder, onerror=self.unread.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self.linked += (path for name in folders if (path := Path(root, name)).is_symlink())
            yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def is_link(word: str) -> bool:
    return bool(_LINK.match(word)) and not word.startswith(_FILE)


def is_pipe(path: Path) -> bool:
    """Whether it can be read only once, or has no folder of its own where a transcript could be."""
    if str(path) in _OF_STDIN or path.parent == Path("/dev/fd") or path.is_relative_to("/proc"):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def is_there(word: str) -> bool:
    """Whether it names a file, a folder or a pipe."""
    return word == STDIN or word.startswith(_FILE) or os.path.lexists(word) or bool(_matching(word))


def near(word: str, others: Iterable[str] = ()) -> str:
    """Which file, which of `others`, or which link may have been meant, for the end of a sentence."""
    folder, name = os.path.split(word)
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208  # text, as `name` is
    except OSError:
        names = []
    if found := get_close_matches(name, [*([] if folder else others), *names], n=1):
        return f"; did you mean {path_text(os.path.join(folder, found[0]))}?"  # noqa: PTH118  # as typed
    return f"; did you mean https://{path_text(word)}?" if not names and _SITE.match(word) else ""


def _paths(word: str) -> list[Path]:
    if word.startswith(_FILE):
        word = unquote(urlsplit(word).path)
    if word == STDIN or os.path.lexists(word):
        return [Path(word)]
    if is_link(word):
        link = one_line(without_secrets(word))
        raise SettingsError(f"{link} is a link: v2t etl --wait {shlex.quote(link)} transcribes what it leads to")
    if found := _matching(word):
        return found
    raise click.UsageError(f"no such file or folder: {quoted(path_text(word))}{near(word)}")


def _matching(pattern: str) -> list[Path]:
    """What a pattern names that the shell has left as it is, such as 'talks/*.mkv' in quotes."""
    found = glob(pattern, recursive=True) if has_magic(pattern) else []  # noqa: PTH207  # pathlib takes no /absolute/*
    return list(map(Path, sorted(found)))


def _pipe_name(path: Path) -> str:
    if str(path) in _OF_STDIN:
        return "stdin"
    return "pipe" if path.name.isdecimal() else path.name  # as in /dev/fd/63
