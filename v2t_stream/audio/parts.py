"""Splits files that FFmpeg must not see in one piece: Ogg files of several links, and fragmented MP4 with holes."""

import io
import os
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, NamedTuple

_BEGIN: Final = 2  # the flag of an Ogg page that begins a stream (RFC 3533, section 6)
PAGE: Final = 27 + 255  # bytes of the longest page header
_SEEK: Final = 1 << 20  # bytes searched at a time
_BOXES: Final = frozenset(
    # Top-level boxes allowed beside fragments (ISO/IEC 14496-12 and 23009-1).
    b"ftyp styp moov moof mdat mfra sidx ssix free skip wide meta emsg prft pdin udta uuid".split()
)
_SEGMENT: Final = b"\x18\x53\x80\x67"
_ELEMENTS: Final = frozenset(
    # EBML's header, the segment, its contents, and allowed filler.
    bytes.fromhex(kind)
    for kind in (
        *("1A45DFA3", "18538067", "114D9B74", "1549A966", "1654AE6B", "1F43B675", "1C53BB6B", "1254C367"),
        *("1941A469", "1043A770", "EC", "BF"),
    )
)
_MOST: Final = 1 << 20  # limit of pages, boxes or elements: five hours of the shortest, read in seconds
_LINKS: Final = 10_000  # limit of links in a chain, weeks of songs; the rest counts as one
_PATCHES: Final = 100_000
_LONGEST_PATCH: Final = 16  # bytes


Read = Callable[[int, int], bytes]  # so many bytes, from so many bytes on: like os.pread of a file


class Part(NamedTuple):
    """A part of a file that is media by itself."""

    start: int  # bytes from the start of the file, like those below
    end: int
    patches: tuple[tuple[int, bytes], ...] = ()  # replacement bytes by position


class Survey(NamedTuple):
    parts: tuple[Part, ...]
    holes: bool = False  # whether bytes inside the file are missing or overwritten


def survey(path: Path) -> Survey:
    """Find the structure of the file from the headers of its pages or boxes; raises OSError."""
    with path.open("rb", buffering=0) as file:
        descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
        head = os.pread(descriptor, 8, 0)
        if head.startswith(b"OggS"):
            pages = pages_of(partial(os.pread, descriptor))
            borders = [0, *islice((page.start for page in pages if page.begins_link), _LINKS - 1), size]
            return Survey(tuple(Part(*border) for border in pairwise(borders)))
        if head[4:] in (b"ftyp", b"styp", b"moov", b"moof"):
            return _fragments(descriptor, size)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return Survey((Part(0, size),), not _are_whole(_clusters(descriptor), size))
        return Survey((Part(0, size),))


class Page(NamedTuple):
    """A page of an Ogg file."""

    start: int
    end: int
    begins_link: bool  # a later one of a chain: streams begin after others have run


def pages_of(read: Read) -> Iterator[Page]:
    """The pages of an Ogg file, one after the other."""
    at, running = 0, False
    for _ in range(_MOST):
        head = read(PAGE, at)
        if not head:
            return
        if len(head) < 27 or not head.startswith(b"OggS"):
            at = _find(read, at + 1, b"OggS")
            continue
        begins = bool(head[5] & _BEGIN)
        end = at + 27 + head[26] + sum(head[27 : 27 + head[26]])
        yield Page(at, end, begins and running)
        at, running = end, not begins


def _box(head: bytes) -> tuple[int, bytes]:
    """The length in bytes and the kind of a box, from its first 16 bytes; empty if they are too few."""
    if len(head) < 8:
        return 0, b""
    length, kind = struct.unpack_from(">I4s", head)
    if length == 1 and len(head) >= 16:
        (length,) = struct.unpack_from(">Q", head, 8)
    return length, kind


def _fragments(descriptor: int, size: int) -> Survey:
    """Cover garbage between two fragments with an empty box, so that the later ones are found.

    FFmpeg goes from box to box and gives up at garbage, although each fragment has its own time.
    """
    patches: list[tuple[int, bytes]] = []
    numbers: list[int] = []
    from_itself = True  # whether fragments give their positions in the file themselves
    at = 0
    for _ in range(_MOST):
        head = os.pread(descriptor, 24, at)
        length, kind = _box(head)
        if not kind or len(patches) > _PATCHES:
            break
        if kind not in _BOXES or length < 8:
            if not numbers or (length == 0 and kind in _BOXES):  # not fragmented, or a last box that reaches to the end
                break
            end = _next_fragment(descriptor, at + 8, size)
            patches.append((at, _filler(end - at)))
            at = end
            continue
        if kind == b"moof" and len(head) == 24:
            numbers += struct.unpack_from(">I", head, 20)  # from its first box, mfhd
            places = dict(_places(os.pread(descriptor, min(length, _SEEK), at)))
            moved = [(at + offset, struct.pack(">Q", at)) for offset, place in places.items() if place != at]
            if len(numbers) == 1:
                from_itself = not moved
            elif from_itself:  # missing bytes before it make its stated position wrong
                patches += moved
        at += length
    return Survey((Part(0, size, tuple(patches)),), any((patches, _are_missing(numbers))))


def _clusters(descriptor: int) -> Iterator[tuple[int, bytes, int]]:
    """The top-level elements of a Matroska file (RFC 9559, section 4.5): the start, kind and end of each."""
    at = 0
    for _ in range(_MOST):
        head = os.pread(descriptor, 12, at)
        if not head:
            return
        kind = head[:4] if head[0] & 0xF0 == 0x10 else head[:1]
        size = head[len(kind) : len(kind) + 8]
        width = 9 - size[0].bit_length() if size else 9
        if width > len(size):
            yield at, b"", at
            return
        length = int.from_bytes(size[:width]) & (1 << 7 * width) - 1
        start = at + len(kind) + width
        unknown = length == (1 << 7 * width) - 1
        yield at, kind, -1 if unknown else start + length
        if unknown and kind != _SEGMENT:
            return  # a live recording; only its whole contents would show the end
        at = start if kind == _SEGMENT else start + length


def _are_whole(elements: Iterator[tuple[int, bytes, int]], size: int) -> bool:
    """Whether a known element follows each one but the last; a file that is cut off is not checked here."""
    return all(kind in _ELEMENTS or at >= size for at, kind, _ in elements)


def _places(fragment: bytes) -> Iterator[tuple[int, int]]:
    """The base offset that a fragment states for its tracks (box tfhd), by the position of that statement."""
    at = -1
    while (at := fragment.find(b"tfhd", at + 1)) >= 0:
        if len(fragment) >= at + 20 and fragment[at + 7] & 1:
            yield at + 12, struct.unpack_from(">Q", fragment, at + 12)[0]


def _filler(length: int) -> bytes:
    """The head of an empty box of that length in bytes."""
    return struct.pack(">I4sQ", 1, b"free", length) if length >= 16 else struct.pack(">I4s", length, b"free")


def _next_fragment(descriptor: int, at: int, size: int) -> int:
    """Find the start of the next fragment; the end of the file if there is none."""
    while (found := _find(partial(os.pread, descriptor), at, b"moof")) < size:
        if os.pread(descriptor, 4, found + 8) == b"mfhd" and found - 4 >= at:
            return found - 4
        at = found + 1
    return size


def _are_missing(numbers: list[int]) -> bool:
    """Whether numbers of fragments are missing. Each of two separated tracks may have every second number."""
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    usual = max(1, min(steps)) if len(steps) > 2 else 1
    return any(step > usual for step in steps)


def _find(read: Read, at: int, mark: bytes) -> int:
    """Find the next `mark`; beyond the end of the file if there is none."""
    while block := read(_SEEK, at):
        found = block.find(mark)
        if found >= 0:
            return at + found
        at += max(1, len(block) - len(mark) + 1)
    return at


class PartReader(io.RawIOBase):
    """A part of a file as a separate file; it takes over the descriptor."""

    def __init__(self, file: io.FileIO, part: Part) -> None:
        self._file, self._part, self._at = file, part, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._part.end - self._part.start}[whence]
        if base + offset < 0:
            raise ValueError("before the start of the part")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # BufferedReader passes nothing else
        start = self._part.start + self._at
        data = os.pread(self._file.fileno(), max(0, min(len(buffer), self._part.end - start)), start)
        buffer[: len(data)] = data
        patches = self._part.patches
        for place, patch in patches[bisect_left(patches, (start - _LONGEST_PATCH,)) :]:
            if place >= start + len(data):
                break
            low, high = max(place, start), min(place + len(patch), start + len(data))
            if low < high:
                buffer[low - start : high - start] = patch[low - place : high - place]
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
