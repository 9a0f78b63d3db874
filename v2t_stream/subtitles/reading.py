"""Reads SubRip and WebVTT files, also those that people and other programs made."""

import html
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from v2t_stream.errors import SettingsError

_CLOCK: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES: Final = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
_TAG: Final = re.compile(r"<[^<>\n]*>|\{\\[^{}\n]*\}")  # of HTML, of WebVTT and of SubStation
_BLOCKS: Final = re.compile(r"\n[ \t]*\n+")
_LANGUAGE: Final = re.compile(r"^Language:\s*(\S+)", re.MULTILINE)


class Read(NamedTuple):
    """A cue as it stands in a file."""

    name: str  # its number or identifier; for a cue without one, its place from 1
    line: int  # of the file, from 1
    start: int  # milliseconds
    end: int  # milliseconds
    lines: tuple[str, ...]  # without tags


class Subtitles(NamedTuple):
    cues: tuple[Read, ...]
    language: str | None  # as the file says
    is_vtt: bool  # as it begins


def read(text: str) -> Subtitles:
    """The cues of an SRT or VTT file. Raises SettingsError, with the line, if it is neither."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    is_vtt = text.startswith("WEBVTT")
    header, _, rest = text.partition("\n\n") if is_vtt else ("", "", text)
    language = _LANGUAGE.search(header)
    cues = tuple(_cues(rest, text.count("\n", 0, len(text) - len(rest)) + 1, is_vtt=is_vtt))
    return Subtitles(cues, language[1] if language else None, is_vtt)


def _cues(text: str, line: int, *, is_vtt: bool) -> Iterator[Read]:
    place = 0
    for block, at in _blocks(text):
        first, *more = block.split("\n")
        if is_vtt and first.split(" ")[0] in ("NOTE", "STYLE", "REGION"):
            continue
        place += 1
        name = str(place)
        number = line + at
        if "-->" not in first and more:
            name, first, more = first.strip(), more[0], more[1:]
            number += 1
        times = _TIMES.match(first)
        if not times:
            raise SettingsError(f"line {number} is not the time of a cue, such as 00:00:01,000 --> 00:00:02,500")
        lines = tuple(html.unescape(_TAG.sub("", said)).strip() for said in more)
        yield Read(name, number, _milliseconds(times.groups()[:4]), _milliseconds(times.groups()[4:]), lines)


def _blocks(text: str) -> Iterator[tuple[str, int]]:
    """What stands between blank lines, and how many lines stand before it."""
    place = 0
    for separator in [*_BLOCKS.finditer(text), None]:
        block = text[place : separator.start() if separator else len(text)]
        if stripped := block.strip("\n"):
            begin = place + block.index(stripped)
            yield stripped, text.count("\n", 0, begin)
        place = separator.end() if separator else place


def _milliseconds(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, thousandths = parts
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1000 + int((thousandths or "0").ljust(3, "0"))
