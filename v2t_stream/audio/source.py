"""Opening a media file, and saying what is wrong with it where that cannot be done."""

from contextlib import ExitStack
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Discard

from v2t_stream.errors import Reject

# A playlist (HLS, ffconcat) called video.mp4 must not make a worker read other files or fetch addresses: FFmpeg gets
# the open file, and no protocol to open another by.
OPTIONS = {"protocol_whitelist": "none"}
BUFFER = 1 << 17  # bytes that FFmpeg asks of the file at a time; its default of 32 KiB asks Python too often


def open_media(path: Path, name: str) -> tuple[InputContainer, AudioStream, ExitStack]:
    """Open `path` and find its best audio stream; the stack closes both.

    Raises Reject, with `name`, where it is not media, has no audio, or is cut off before its index.
    """
    with ExitStack() as stack:
        try:
            size = path.stat().st_size
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise Reject(f"{name} cannot be opened ({error.strerror}): check that it exists and may be read") from error
        if not size:
            raise Reject(f"{name} is empty (0 bytes): copy or download it again")
        head = file.peek(8)[:8]
        try:
            container = av.open(file, "r", metadata_errors="ignore", buffer_size=BUFFER, options=OPTIONS)
        except (av.FFmpegError, ValueError) as error:
            raise _unknown(name, head) from error
        stack.enter_context(container)
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            raise Reject(f"{name} has no audio track: there is nothing to transcribe in it")
        if cast("CodecContext | None", stream.codec_context) is None:  # the stubs promise one
            raise Reject(f"{name} has audio that this program cannot decode: convert it to AAC, MP3 or FLAC first")
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all  # so that the pictures are not even read where the container has an index
        return container, stream, stack.pop_all()


def _unknown(name: str, head: bytes) -> Reject:
    if head[4:] == b"ftyp":
        return Reject(
            f"{name} cannot be read: it is cut off before its index, which an MP4 often has at its end; "
            "copy, download or record it again"
        )
    return Reject(f"{name} is not audio or video of a known kind, or is damaged: check that it plays in a media player")
