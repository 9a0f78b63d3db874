"""Which of many files are recordings, and what their transcripts are called."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from v2t_stream.audio.look import Kind, Look, look
from v2t_stream.cli.files import some
from v2t_stream.cli.inputs import Input, Inputs
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.text import one_line, path_text
from v2t_stream.units import counted

log = logging.getLogger(__name__)

_AT_ONCE: Final = 4  # looks; a folder on a network answers more than one
_SHOWN: Final = 3  # sentences about broken files in one about all of them
_TRANSCRIPTS: Final = frozenset(f".{name}" for name in FORMATS)
# Suffixes that nothing but recordings should have: a file that is none is a broken one.
_OF_MEDIA: Final = frozenset(
    (
        *(".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".avi", ".caf", ".flac", ".flv", ".m2ts", ".m4a", ".m4b"),
        *(".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".mxf", ".oga", ".ogg", ".opus", ".vob"),
        *(".wav", ".weba", ".webm", ".wma", ".wmv"),
    )
)
_REPEATED: Final = "repeated"
_LINKED: Final = "linked"
_SKIPPED: Final = {  # what it is, and why it was left out
    Kind.SILENT: ("file", "without sound"),
    Kind.FOREIGN: ("file", "without audio or video"),
    Kind.EMPTY: ("file", "of 0 bytes"),
    Kind.UNREADABLE: ("file", "that cannot be read"),
    _REPEATED: ("file", "under a second name"),
    _LINKED: ("link", "to another folder"),
}


class Recording(NamedTuple):
    path: Path
    name: str  # without folders
    stem: Path | None  # the path of its transcript without the suffix of a format; None: it is printed
    is_pipe: bool = False

    def paths(self, formats: list[str]) -> list[Path]:
        """Where its transcript goes."""
        return [self.stem.with_name(f"{self.stem.name}.{format_}") for format_ in formats] if self.stem else []

    @property
    def shown(self) -> str:
        return self.name if self.is_pipe else path_text(self.path)


class Recordings:
    """Looks into files, a few at a time, off the event loop; keeps account of those that are not recordings."""

    def __init__(self, inputs: Inputs) -> None:
        self.failures = [
            f"{one_line(path_text(error.filename or ''))} cannot be read ({error.strerror}): check that you may read it"
            for error in inputs.unread
        ]
        links = {_REPEATED: inputs.repeated, _LINKED: inputs.linked}
        self._skipped: dict[Kind | str, list[str]] = {why: list(map(path_text, of)) for why, of in links.items() if of}
        self._output = inputs.output
        self._is_only = len(inputs.files) == 1
        self._wholes = {file.whole for file in inputs.files}
        self._left: dict[Path | None, list[Input]] = {}  # to look into, by the name that they compete for
        for file in inputs.files:
            self._left.setdefault(file.short, []).append(file)

    async def among(self, wanted: Callable[[Input], bool] = lambda _: True) -> AsyncGenerator[Recording]:
        """The recordings among the `wanted` files, and among those that compete with them for a name; in order.

        Leaves out what was looked into before. A pipe counts as a recording, as a look would use it up.
        """
        chosen = deque(short for short, files in self._left.items() if any(map(wanted, files)))
        looking: deque[tuple[list[Input], asyncio.Future[list[Look]]]] = deque()
        while chosen or looking:
            while chosen and len(looking) < _AT_ONCE:
                files = self._left.pop(chosen.popleft())
                looking.append((files, asyncio.ensure_future(asyncio.to_thread(_looks, files))))
            files, looks = looking.popleft()
            for recording in self._named(files, await looks):
                yield recording

    def skipped(self) -> Iterator[str]:
        """A line for each reason why files were left out."""
        for reason, names in self._skipped.items():
            what, why = _SKIPPED[reason]
            yield f"skipped {counted(len(names), what)} {why}: {some(names)}"

    def nothing(self, words: Sequence[str]) -> SettingsError:
        """Why none of the files that `words` name is a recording."""
        if self._is_only and self.failures:
            return SettingsError(self.failures[0])
        why = "; ".join([*self.failures[:_SHOWN], *self.skipped()])
        names = some(list(map(path_text, words)))
        return SettingsError(f"nothing to transcribe in {names}{f': {why}' if why else ''}")

    def _named(self, files: list[Input], looks: list[Look]) -> Iterator[Recording]:
        """The recordings among files that compete for a name, each with a name of its own."""
        taken = [file for file, found in zip(files, looks, strict=True) if self._is_taken(file, found)]
        stems = [file.short for file in taken]
        if len(taken) > 1 or set(stems) & (self._wholes - {file.whole for file in files}):
            stems = [file.whole for file in taken]  # talk.mp4 and talk.wav would both write talk.srt
        if self._output and len(set(stems)) < len(stems):  # a/talk.mp4 and b/talk.mp4, both into one folder
            paths = [file.path.absolute() for file in taken]
            above = os.path.commonpath([path.parent for path in paths])
            stems = [self._output / path.relative_to(above) for path in paths]
        for file, stem in zip(taken, stems, strict=True):
            yield Recording(file.path, file.name, stem, file.is_pipe)

    def _is_taken(self, file: Input, found: Look) -> bool:
        if found.kind is Kind.RECORDING:
            return True
        suffix = file.path.suffix.lower()
        if suffix in _TRANSCRIPTS and not self._is_only:
            return False  # not worth a word: it is most likely ours
        is_broken = found.kind is Kind.UNDECODABLE or (found.kind is not Kind.SILENT and suffix in _OF_MEDIA)
        if file.is_named or is_broken:
            self.failures.append(found.reason)
        else:
            self._skipped.setdefault(found.kind, []).append(path_text(file.path))
        return False


def _looks(files: list[Input]) -> list[Look]:
    return list(map(_look, files))


def _look(file: Input) -> Look:
    if file.is_pipe:
        return Look(Kind.RECORDING)
    try:
        return look(file.path, one_line(path_text(file.path)))
    except Exception as error:  # a fault of a library with one file of thousands: a node will say what is wrong with it
        log.debug("unexpected, from %s", path_text(file.path), exc_info=error)
        return Look(Kind.RECORDING)
