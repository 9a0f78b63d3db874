"""A file that is read while it arrives."""

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Condition
from typing import Final

from av.audio.stream import AudioStream
from msgspec import structs

from schemas.transcript import Track
from v2t_stream.audio.declared import declared
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.parts import PAGE, Part, Survey, pages_of
from v2t_stream.audio.source import BUFFER, Media, open_file
from v2t_stream.audio.tracks import describe, eligible
from v2t_stream.errors import Reject

_END: Final = 1 << 62  # bytes: where a part ends whose end is not known
# Formats of which FFmpeg finds the same sound whether or not it may jump to their end and back.
_ONE_WAY: Final = frozenset(("aac", "ac3", "eac3", "flac", "matroska", "mov", "mp3", "mpegts", "ogg", "wav"))
_BOXES: Final = 100  # of an MP4, before its index
_LARGEST: Final = 64 << 20  # bytes of that; ten hours of film have ten


class Arriving:
    """A file on disk. One thread adds bytes at its end; others read, and wait for what has not arrived."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._into = path.open("wb", buffering=0)
        self._from = path.open("rb", buffering=0)
        self._changed = Condition()
        self._size = 0
        self._is_over = False

    def add(self, data: bytes) -> None:
        self._into.write(data)
        with self._changed:
            self._size += len(data)
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody needs to wait any more: what is there is all that can be read."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def has(self, size: int) -> bool:
        """Whether there is no need to wait for the first `size` bytes."""
        with self._changed:
            return self._is_over or self._size >= size

    def wait(self) -> None:
        """Wait for the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over)

    def close(self) -> None:
        self.end()
        with self._changed:
            self._into.close()
            self._from.close()

    def read(self, length: int, at: int, *, least: int | None = None) -> bytes:
        """Like os.pread; waits for all of these bytes, or for the `least` that will do, or for the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._size >= at + (length if least is None else least))
            if self._from.closed:
                return b""
            self._from.seek(at)
            return self._from.read(max(0, min(length, self._size - at)))


class _OneWay(io.RawIOBase):
    """A part of such a file as FFmpeg reads a pipe: from its start to its end, as it arrives."""

    def __init__(self, file: Arriving, links: "_Links | None", start: int) -> None:
        self._file, self._links, self._at = file, links, start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # BufferedReader passes nothing else
        data = self._file.read(len(buffer), self._at, least=1)
        if self._links:
            data = data[: self._links.end(self._at, self._at + len(data)) - self._at]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Pipe(io.BufferedReader):
    """Gives FFmpeg what is there, and has it neither jump nor wait until a buffer is full."""

    def read(self, size: int | None = -1, /) -> bytes:
        return self.read1(BUFFER if size is None or not 0 <= size <= BUFFER else size)

    def seekable(self) -> bool:
        return False


class _Links:
    """Finds where the links of a chained Ogg file begin, as it arrives."""

    def __init__(self, file: Arriving) -> None:
        self._pages = pages_of(file.read)
        self._file = file
        self._ahead = 0  # where the first page begins that was not looked at
        self.next: int | None = None  # where the link behind the current one begins

    def end(self, at: int, to: int) -> int:
        """Up to where bytes from `at` on belong to the current link for sure; of what is there, up to `to`."""
        while self.next is None and self._ahead < to:
            if self._ahead > at and not self._file.has(self._ahead + PAGE):
                return self._ahead  # rather than wait for the head of that page
            page = next(self._pages, None)
            if page is None:
                return to
            self._ahead = page.end
            if page.begins_link:
                self.next = page.start
        return to if self.next is None else min(to, max(at, self.next))

    def rest(self) -> Iterator[Part]:
        """The later parts, each when the one before is over."""
        while self.next is not None:
            start, self.next = self.next, None
            yield Part(start, _END)


class ArrivingReader(MediaReader):
    """A MediaReader of a file that still arrives: gives the same sound, as soon as it is there.

    Raises Reject also for a file that has to be whole before anybody can tell what is in it, such as an MP4 with its
    index at the end, or several tracks that have to be compared; and at its end for one whose damage shows only then.
    Then read it again with a MediaReader, whose verdict counts.
    """

    def __init__(
        self, file: Arriving, name: str | None = None, *, track: str | None = None, language: str | None = None
    ) -> None:
        self._file = file
        self._links: _Links | None = None
        self._is_open = False  # its header does not tell how long it is
        self._parts = 1
        super().__init__(file.path, name, track=track, language=language)
        if self._is_open:
            self.duration = None

    def _surveyed(self) -> tuple[Part, Iterable[Part]]:
        self._survey = Survey((Part(0, _END),))
        head = self._file.read(8, 0)
        if head[4:] == b"ftyp":
            index = _index(self._file)
            if not index:
                raise self._later_only("its index is at its end")
            self._is_open = b"mvex" in index  # its content is in fragments
        if head.startswith(b"OggS"):
            self._links, self._is_open = _Links(self._file), True
            return self._survey.parts[0], self._links.rest()
        return self._survey.parts[0], ()

    def _opened(self, part: Part) -> Media:
        self._parts += bool(part.start)
        media = open_file(_Pipe(_OneWay(self._file, self._links, part.start)), self.name)
        if not _ONE_WAY.intersection(media.container.format.name.split(",")):
            media.closing.close()
            raise self._later_only("of its kind")
        return media

    def _chosen(self, first: Part) -> tuple[AudioStream, tuple[Track, ...]]:  # noqa: ARG002  # nothing to compare
        track, language = self._wanted
        container = self._media.container
        found = eligible(container, self.name, track=track, language=language)
        if len(found) > 1:
            raise self._later_only("its tracks have to be compared")
        numbered = [stream.index for stream in container.streams if stream.type == "audio"]
        number = numbered.index(found[0].index) + 1
        return found[0], tuple(structs.replace(one, taken=one.number == number) for one in describe(container))

    def _declared(self) -> float | None:
        return None if self._is_open else declared(self._file.read, _END, self._media.container, self._stream)

    def _ends_at(self) -> float | None:
        return None

    def _check(self) -> None:
        """Open the whole file, to judge by it, and see whether it would have been read in the same way."""
        self._file.wait()  # there may be more behind the sound
        self._media.closing.close()
        first, self._later = super()._surveyed()
        self._media = super()._opened(first)
        self._stream, tracks = super()._chosen(first)
        self._clock.end = super()._declared()
        is_same = len(self._survey.parts) == self._parts and not first.patches and tracks == self.tracks
        if not is_same or super()._ends_at() is not None:
            raise self._later_only("what it says at its end changes what came before")

    def _later_only(self, why: str) -> Reject:
        return Reject(f"{self.name} can be read only when all of it is there: {why}")


def _index(file: Arriving) -> bytes:
    """The index of an MP4; empty if its content comes first."""
    at = 0
    for _ in range(_BOXES):
        head = file.read(16, at)
        if len(head) < 16 or head[4:8] == b"mdat":
            break
        (length,) = struct.unpack_from(">I", head)
        length = struct.unpack_from(">Q", head, 8)[0] if length == 1 else max(8, length)
        if head[4:8] == b"moov":
            return file.read(min(length, _LARGEST), at)
        at += length
    return b""
