"""Whether a file is a recording, by a look into it: its name may say anything."""

from enum import Enum
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from av.container import InputContainer

from v2t_stream.audio.parts import Part
from v2t_stream.audio.source import open_media
from v2t_stream.audio.tracks import eligible
from v2t_stream.errors import Reject


class Kind(Enum):
    RECORDING = "recording"
    UNDECODABLE = "undecodable"  # it has sound, but nothing here can decode it
    SILENT = "silent"  # pictures without sound
    FOREIGN = "foreign"  # neither audio nor video, or damaged
    EMPTY = "empty"
    UNREADABLE = "unreadable"


class Look(NamedTuple):
    kind: Kind
    reason: str = ""  # a sentence that begins with the file's name; empty for a recording


def look(path: Path, name: str) -> Look:
    """What is in a file; `name` is what sentences call it. Reads its beginning, and its index if that is elsewhere."""
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            return Look(Kind.FOREIGN, f"{name} is not a file")
        if not found.st_size:
            return Look(Kind.EMPTY, f"{name} is empty (0 bytes): copy or download it again")
        media = open_media(path, Part(0, found.st_size), name)
    except OSError as error:
        return Look(Kind.UNREADABLE, f"{name} cannot be read ({error.strerror}): check that you may read it")
    except Reject as error:
        return Look(Kind.FOREIGN, str(error))
    with media.closing:
        return _judged(media.container, name)


def _judged(container: InputContainer, name: str) -> Look:
    try:
        eligible(container, name)
    except Reject as error:
        sounds = any(stream.type == "audio" for stream in container.streams)
        return Look(Kind.UNDECODABLE if sounds else Kind.SILENT, str(error))
    return Look(Kind.RECORDING)
