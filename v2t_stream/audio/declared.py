"""How long a file says that it is, where it says so: FFmpeg's own figure is often a guess from what is there."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

# Formats in whose head the length of the sound stands,
_OF_STREAM: Final = frozenset(
    (
        *("mov", "flac", "mp3", "aiff", "au", "wv", "tta", "ape", "mpc", "mpc8", "tak", "shn", "dsf", "gxf", "mxf"),
        *("caf", "wav", "w64", "avi", "sox"),
    )
)
_OF_FILE: Final = frozenset(("matroska", "flv", "asf", "rm", "wtv"))  # and that of everything, pictures too
_TOLERANCE: Final = 0.02  # of the declared length: rounding, and the run-up and filling of codecs
_LEAST: Final = 0.25  # seconds; the same where a file is short
# Sizes that writers to a pipe leave: shortly below 2 or 4 GiB (0x7FFFFFFF, 0xFFFFFFFF less a head), or as sox does.
_NEAR: Final = 1 << 17
_OPEN: Final = range(0x7F00_0000, 0x7F01_0000)


def declared(path: Path, container: InputContainer, stream: AudioStream) -> float | None:
    """Return the timestamp, in seconds, at which the sound ends by the file's own word.

    None where the file does not say so, or left it open.
    """
    names = set(container.format.name.split(","))
    seconds: float | None = None
    if names & _OF_STREAM and stream.duration and stream.time_base is not None:
        seconds = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    elif names & _OF_FILE and container.duration:
        seconds = _of_tag(stream) or container.duration / av.time_base
    if not seconds or seconds <= 0:
        return None
    with path.open("rb") as file:
        for name, share in _SHARES.items():
            if name in names:
                present = share(file.fileno(), os.fstat(file.fileno()).st_size)
                return seconds / present if present else None
    return seconds


def falls_short(decoded: float, of: float) -> bool:
    """Whether so many seconds are fewer than the declared ones by more than rounding."""
    return of - decoded > max(_TOLERANCE * of, _LEAST)


def _of_tag(stream: AudioStream) -> float | None:
    """The end of a Matroska track, where its writer noted it for each: the pictures may go on for longer."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds[:12])
    except ValueError:
        return None


def first_missing(stream: AudioStream, size: int) -> float | None:
    """Find the timestamp, in seconds, from which packets lie beyond the file's `size`; None where all are there.

    An MP4's index says where every packet is; FFmpeg would go on asking for each of those that are not there.
    """
    entries = stream.index_entries
    low, high = 0, len(entries)
    if not high or stream.time_base is None or entries[-1].pos + entries[-1].size <= size:
        return None
    while low < high:  # the packets of one stream lie in order
        middle = (low + high) // 2
        if entries[middle].pos + entries[middle].size > size:
            high = middle
        else:
            low = middle + 1
    return float(entries[low].timestamp * stream.time_base)


# Of these formats FFmpeg tells how much is there. How much that is of what the file declares, from 0 to 1; 0 where it
# declares nothing. Each takes a descriptor and the size of the file.


def _of_riff(descriptor: int, size: int) -> float:
    """WAV and AVI: by the chunk with the sound, or by that with sound and pictures."""
    large = os.pread(descriptor, 4, 0) in (b"RF64", b"BW64")
    at, sizes = 12, {}
    for _ in range(100):
        head = os.pread(descriptor, 32, at)
        if len(head) < 8:
            return 1.0
        kind, length = struct.unpack_from("<4sI", head)
        if kind == b"ds64" and len(head) >= 24:
            sizes[b"data"] = struct.unpack_from("<Q", head, 16)[0]
        if kind == b"data" or (kind == b"LIST" and head[8:12] == b"movi"):
            return _share(at + 8, sizes.get(b"data", length) if large else length, size)
        at += 8 + length + length % 2
    return 1.0


def _of_w64(descriptor: int, size: int) -> float:
    at = 40
    for _ in range(100):
        head = os.pread(descriptor, 24, at)
        if len(head) < 24:
            return 1.0
        length = struct.unpack_from("<Q", head, 16)[0]
        if head.startswith(b"data"):
            return _share(at + 24, length - 24, size)
        at += max(24, length + -length % 8)
    return 1.0


def _of_caf(descriptor: int, size: int) -> float:
    at = 8
    for _ in range(100):
        head = os.pread(descriptor, 12, at)
        if len(head) < 12:
            return 1.0
        kind, length = struct.unpack(">4sq", head)
        if kind == b"data":
            return _share(at + 12, length, size)
        at += 12 + max(0, length)
    return 1.0


def _of_flac(descriptor: int, _: int) -> float:
    """A head that was written before the end was known has no number of samples (RFC 9639, section 8.2)."""
    head = os.pread(descriptor, 42, 0)
    return 1.0 if not head.startswith(b"fLaC") or head[21] & 15 or any(head[22:26]) else 0.0


def _of_aiff(descriptor: int, size: int) -> float:
    at = 12
    for _ in range(100):
        head = os.pread(descriptor, 8, at)
        if len(head) < 8:
            return 1.0
        kind, length = struct.unpack(">4sI", head)
        if kind == b"SSND":
            return 1.0 if _share(at + 8, length, size) else 0.0
        at += 8 + length + length % 2
    return 1.0


def _of_au(descriptor: int, size: int) -> float:
    start, length = struct.unpack(">II", os.pread(descriptor, 8, 4))
    return 1.0 if _share(start, length, size) else 0.0


def _of_mp3(descriptor: int, _: int) -> float:
    """Only an encoder's own first frame tells the length; otherwise FFmpeg guesses it from the first bit rate."""
    head = os.pread(descriptor, 10, 0)
    start = 0
    if head.startswith(b"ID3") and len(head) == 10:
        start = 10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(head[6:]))
    frame = os.pread(descriptor, 2048, start)
    return 1.0 if any(mark in frame for mark in (b"Xing", b"Info", b"VBRI")) else 0.0


def _of_sox(descriptor: int, size: int) -> float:
    head = os.pread(descriptor, 16, 0)
    form = "<IQ" if head.startswith(b".SoX") else ">IQ"
    length, samples = struct.unpack_from(form, head, 4)
    return _share(length + 4, 4 * samples, size)


def _share(start: int, length: int, size: int) -> float:
    return 0.0 if _is_open(length) else min(1.0, (size - start) / length)


def _is_open(length: int) -> bool:
    """Whether it stands for a size that was not known when it was written."""
    return length <= 0 or length in _OPEN or (length + _NEAR) % (1 << 31) < 2 * _NEAR - 1


_SHARES: Final[dict[str, Callable[[int, int], float]]] = {
    "wav": _of_riff,
    "avi": _of_riff,
    "w64": _of_w64,
    "caf": _of_caf,
    "flac": _of_flac,
    "aiff": _of_aiff,
    "au": _of_au,
    "mp3": _of_mp3,
    "sox": _of_sox,
}
