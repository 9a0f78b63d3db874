"""A subtitle."""

from typing import NamedTuple

from v2t_stream.subtitles.tokens import Token


class Cue(NamedTuple):
    start: int  # milliseconds
    end: int  # milliseconds, after start
    lines: tuple[str, ...]  # none is empty
    words: tuple[tuple[Token, ...], ...] = ()  # of each line, to be written with their times
    speaker: str = ""
    is_missing: bool = False  # it stands for what could not be transcribed

    @property
    def text(self) -> str:
        return " ".join(self.lines)
