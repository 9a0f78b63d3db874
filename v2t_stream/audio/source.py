"""Opens a media file, or says what is wrong with it."""

import io
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import av
from av.codec import Codec
from av.container import InputContainer
from av.stream import Discard, Stream

from v2t_stream.audio.parts import Part, PartReader, Survey, survey
from v2t_stream.errors import Reject

# Formats of recordings, films and voice. Formats that list other resources (HLS, ffconcat, SDP, DASH …) are left out,
# and so are pictures, subtitles and old games' formats, because each is more code to attack.
FORMATS: Final = (
    *("aac", "ac3", "act", "aiff", "amr", "ape", "asf", "au", "avi", "avr", "caf", "dhav", "dsf", "dss", "dts"),
    *("dtshd", "dv", "eac3", "flac", "flv", "gxf", "iff", "kux", "live_flv", "loas", "matroska", "mov", "mp3", "mpc"),
    *("mpc8", "mpeg", "mpegts", "mxf", "nistsphere", "nut", "ogg", "oma", "pva", "qcp", "rm", "shn", "sox", "tak"),
    *("truehd", "tta", "ty", "voc", "vqf", "w64", "wav", "wtv", "wv", "xwma"),
)
BUFFER = 1 << 17  # bytes per read of FFmpeg; its default of 32 KiB calls Python too often


@cache
def _options() -> dict[str, str]:
    """FFmpeg's options: a file must not make this machine read another file, fetch an address, or decode a picture.

    FFmpeg gets the open file, and no protocol to open another. With their decoders it would decode the first pictures,
    however large, to learn what is in a file.
    """
    sound = [name for name in sorted(av.codecs_available) if _is_of_sound(name)]
    return {
        "protocol_whitelist": "none",
        "format_whitelist": ",".join(FORMATS),
        "codec_whitelist": ",".join(sound),
        "max_streams": "100",
        # If a transport stream's timestamps jump back, its clock has not wrapped after 26.5 hours.
        "correct_ts_overflow": "0",
    }


def _is_of_sound(codec: str) -> bool:
    try:
        return Codec(codec, "r").type == "audio"
    except ValueError:  # it only encodes
        return False


class _File(io.BufferedReader):
    """A file with C semantics for a damaged header's requests; PyAV would raise Python's exceptions."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(BUFFER if size is None or not 0 <= size <= BUFFER else size)  # Python allocates it first

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError):  # before its start, from a damaged index
            return -1


class Media(NamedTuple):
    """An open file; `closing` closes it."""

    container: InputContainer
    closing: ExitStack


def look_at(path: Path, name: str) -> Survey:
    """Find the structure of the file. Raises Reject, with `name`, if it is unreadable or empty."""
    try:
        if not path.stat().st_size:
            raise Reject(f"{name} is empty (0 bytes): copy or download it again")
        return survey(path)
    except OSError as error:
        raise Reject(f"{name} cannot be opened ({error.strerror}): check that it exists and is readable") from error


def open_media(path: Path, part: Part, name: str) -> Media:
    """Open a part of `path`. Raises Reject, with `name`, if it is not media, or is cut off before its index."""
    return open_file(_File(PartReader(io.FileIO(path), part)), name)


def open_file(file: io.BufferedReader, name: str) -> Media:
    """The same for a file that reads as FFmpeg expects it. Takes it over."""
    with ExitStack() as stack:
        stack.enter_context(file)
        head = file.peek(8)[:8]
        try:
            container = av.open(file, "r", metadata_errors="ignore", buffer_size=BUFFER, options=_options())
        except (av.FFmpegError, ValueError) as error:
            raise _unknown(name, head) from error
        stack.enter_context(container)
        return Media(container, stack.pop_all())


def read_only(container: InputContainer, *streams: Stream) -> None:
    """Discard all other streams, so that a container with an index does not even read the pictures."""
    wanted = {stream.index for stream in streams}
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in wanted else Discard.all


def _unknown(name: str, head: bytes) -> Reject:
    if head[4:] == b"ftyp":
        return Reject(
            f"{name} cannot be read: it is cut off before its index, which is often at the end of an MP4; "
            "copy, download or record it again"
        )
    return Reject(f"{name} is not audio or video of a known kind, or is damaged: check that it plays in a media player")
