"""A file's declared length, if it has one: FFmpeg's own figure is often a guess from the data."""

import struct
from collections.abc import Callable, Iterator
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from v2t_stream.audio.parts import Read

# Formats whose header has the length of the sound,
_OF_STREAM: Final = frozenset(
    (
        *("mov", "flac", "mp3", "aiff", "au", "wv", "tta", "ape", "mpc", "mpc8", "tak", "shn", "dsf", "gxf", "mxf"),
        *("caf", "w64", "avi", "sox"),
    )
)
_OF_FILE: Final = frozenset(("matroska", "flv", "rm", "wtv"))  # and of everything, pictures too
_ASF_PROPERTIES: Final = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
_TOLERANCE: Final = 0.02  # share of the declared length: rounding, and the run-up and padding of codecs
_LEAST: Final = 0.25  # seconds; the same for a short file
# Sizes that writers to a pipe leave: just below 2 or 4 GiB (0x7FFFFFFF, 0xFFFFFFFF less a header), or sox's own.
_NEAR: Final = 1 << 17
_OPEN: Final = range(0x7F00_0000, 0x7F01_0000)


def declared(read: Read, size: int, container: InputContainer, stream: AudioStream) -> float | None:
    """Return the timestamp, in seconds, at which the file declares that the sound ends.

    None if the file does not declare it, or left it open. `size`: of the file, in bytes.
    """
    names = set(container.format.name.split(","))
    for name in names & _HEADS.keys():
        return _HEADS[name](read, size)
    seconds = _by_ffmpeg(names, container, stream)
    if not seconds or seconds <= 0:
        return None
    for name in names & _SHARES.keys():
        share = _SHARES[name](read, size)
        return seconds / share if share else None
    return seconds


def _by_ffmpeg(names: set[str], container: InputContainer, stream: AudioStream) -> float | None:
    if names & _OF_STREAM and stream.duration and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if names & _OF_FILE and container.duration:
        return _of_tag(stream) or container.duration / av.time_base
    return None


def falls_short(decoded: float, of: float) -> bool:
    """Whether these seconds fall short of the declared ones by more than rounding."""
    return of - decoded > max(_TOLERANCE * of, _LEAST)


def _of_tag(stream: AudioStream) -> float | None:
    """The end of a Matroska track, if its writer recorded one for each track: the pictures may last longer."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds[:12])
    except ValueError:
        return None


def first_missing(stream: AudioStream, size: int) -> float | None:
    """Find the timestamp, in seconds, from which packets are beyond the file's `size`; None if all are inside.

    An MP4's index gives the place of every packet; FFmpeg would try to read each missing one.
    """
    entries = stream.index_entries
    low, high = 0, len(entries)
    if not high or stream.time_base is None or entries[-1].pos + entries[-1].size <= size:
        return None
    while low < high:  # the packets of one stream are in order
        middle = (low + high) // 2
        if entries[middle].pos + entries[middle].size > size:
            high = middle
        else:
            low = middle + 1
    return float(entries[low].timestamp * stream.time_base)


# The functions below read a file's header. First the declared seconds; None: not declared.


def _of_wav(read: Read, size: int) -> float | None:
    """From the bytes of the chunk `data`, or for compressed sound from the samples of `fact`, if they agree."""
    large = read(4, 0) in (b"RF64", b"BW64")
    rate = bytes_a_second = samples = large_size = 0
    for at, kind, length in _riff(read):
        head = read(32, at)
        if kind == b"ds64" and len(head) >= 16:
            (large_size,) = struct.unpack_from("<Q", head, 8)
        elif kind == b"fmt " and len(head) >= 16:
            rate, bytes_a_second = struct.unpack_from("<II", head, 4)
        elif kind == b"fact" and len(head) >= 4:
            (samples,) = struct.unpack_from("<I", head)
        elif kind == b"data" and rate:
            there = large_size if large else length
            if not _share(at, there, size):
                return None
            counted = samples / rate
            seconds = there / bytes_a_second if bytes_a_second else counted
            return (counted if seconds / 2 < counted < seconds * 2 else seconds) or None
    return None


def _of_asf(read: Read, size: int) -> float | None:
    """From the file's properties (ASF 1.20, section 3.2); FFmpeg reports less if data is missing."""
    head = read(min(size, 1 << 16), 0)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return None
    duration, _, preroll, flags = struct.unpack_from("<QQQI", head, at + 64)
    return None if flags & 1 else duration / 1e7 - preroll / 1e3


# Then the share of the declared length that FFmpeg reports from the data, from 0 to 1; 0: nothing is declared.


def _of_avi(read: Read, size: int) -> float:
    for at, kind, length in _riff(read):
        if kind == b"LIST" and read(4, at) == b"movi":
            return _share(at, length, size)
    return 1.0


def _of_w64(read: Read, size: int) -> float:
    at = 40
    for _ in range(100):
        head = read(24, at)
        if len(head) < 24:
            return 1.0
        length = struct.unpack_from("<Q", head, 16)[0]
        if head.startswith(b"data"):
            return _share(at + 24, length - 24, size)
        at += max(24, length + -length % 8)
    return 1.0


def _of_caf(read: Read, size: int) -> float:
    at = 8
    for _ in range(100):
        head = read(12, at)
        if len(head) < 12:
            return 1.0
        kind, length = struct.unpack(">4sq", head)
        if kind == b"data":
            return _share(at + 12, length, size)
        at += 12 + max(0, length)
    return 1.0


def _of_flac(read: Read, _: int) -> float:
    """A header written before the end was known has no number of samples (RFC 9639, section 8.2)."""
    head = read(42, 0)
    return 1.0 if not head.startswith(b"fLaC") or head[21] & 15 or any(head[22:26]) else 0.0


def _of_aiff(read: Read, size: int) -> float:
    at = 12
    for _ in range(100):
        head = read(8, at)
        if len(head) < 8:
            return 1.0
        kind, length = struct.unpack(">4sI", head)
        if kind == b"SSND":
            return 1.0 if _share(at + 8, length, size) else 0.0
        at += 8 + length + length % 2
    return 1.0


def _of_au(read: Read, size: int) -> float:
    start, length = struct.unpack(">II", read(8, 4))
    return 1.0 if _share(start, length, size) else 0.0


def _of_mp3(read: Read, _: int) -> float:
    """Only an encoder's own first frame has the length; otherwise FFmpeg guesses it from the first bit rate."""
    head = read(10, 0)
    start = 0
    if head.startswith(b"ID3") and len(head) == 10:
        start = 10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(head[6:]))
    frame = read(2048, start)
    return 1.0 if any(mark in frame for mark in (b"Xing", b"Info", b"VBRI")) else 0.0


def _of_sox(read: Read, size: int) -> float:
    head = read(16, 0)
    form = "<IQ" if head.startswith(b".SoX") else ">IQ"
    length, samples = struct.unpack_from(form, head, 4)
    return _share(length + 4, 4 * samples, size)


def _riff(read: Read) -> Iterator[tuple[int, bytes, int]]:
    """The first chunks of a WAV or AVI: the start of their content, their kind and length."""
    at = 12
    for _ in range(100):
        head = read(8, at)
        if len(head) < 8:
            return
        kind, length = struct.unpack("<4sI", head)
        yield at + 8, kind, length
        at += 8 + length + length % 2


def _share(start: int, length: int, size: int) -> float:
    return 0.0 if _is_open(length) else min(1.0, (size - start) / length)


def _is_open(length: int) -> bool:
    """Whether it marks a size that was unknown at the time of writing."""
    return length <= 0 or length in _OPEN or (length > _NEAR and (length + _NEAR) % (1 << 31) <= _NEAR)


_HEADS: Final[dict[str, Callable[[Read, int], float | None]]] = {"wav": _of_wav, "asf": _of_asf}
_SHARES: Final[dict[str, Callable[[Read, int], float]]] = {
    "avi": _of_avi,
    "w64": _of_w64,
    "caf": _of_caf,
    "flac": _of_flac,
    "aiff": _of_aiff,
    "au": _of_au,
    "mp3": _of_mp3,
    "sox": _of_sox,
}
