"""What in a file of subtitles breaks a style."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from v2t_stream.subtitles.breaks import Grammar
from v2t_stream.subtitles.reading import Read, Subtitles
from v2t_stream.subtitles.style import Style
from v2t_stream.subtitles.width import columns, letters

_TOLERANCE: Final = 1  # milliseconds: times in files are rounded


class Problem(NamedTuple):
    cue: Read
    reason: str


def problems(file: Subtitles, style: Style, language: str | None = None) -> Iterator[Problem]:
    """What breaks the style, cue by cue. `language`: of the text; by default what the file says."""
    grammar = Grammar((language or file.language or "").split("-")[0].lower())
    for cue in file.cues:
        for reason in (*_time(cue, style), *_text(cue, style, grammar)):
            yield Problem(cue, reason)
    yield from _neighbours(file.cues, style)


def _time(cue: Read, style: Style) -> Iterator[str]:
    stays = cue.end - cue.start
    if stays <= 0:
        yield "it ends before it starts" if stays else "it ends as it starts"
        return
    if stays < style.min_cue * 1000 - _TOLERANCE:
        yield f"it stays {_seconds(stays)}, less than {style.min_cue:.2f} s"
    if stays > style.max_cue * 1000 + _TOLERANCE:
        yield f"it stays {_seconds(stays)}, more than {style.max_cue:g} s"
    speed = sum(map(letters, cue.lines)) + len(cue.lines) - 1
    # The reader sees a line break as a space.
    if speed > style.max_cps * (stays + _TOLERANCE) / 1000:
        yield f"{speed * 1000 / stays:.1f} letters a second are more than {style.max_cps:g}"


def _text(cue: Read, style: Style, grammar: Grammar) -> Iterator[str]:
    if not any(cue.lines):
        yield "it has no text"
    if len(cue.lines) > style.max_lines:
        yield f"{len(cue.lines)} lines are more than {style.max_lines}"
    for number, line in enumerate(cue.lines, 1):
        if columns(line) > style.max_line_width:
            yield f"line {number} is {columns(line):g} letters wide, more than {style.max_line_width}"
    for line in cue.lines[:-1]:
        if line and grammar.binds(last := line.split()[-1]):
            yield f"a line ends with {last!r}, which belongs to the word after it"


def _neighbours(cues: Sequence[Read], style: Style) -> Iterator[Problem]:
    for before, cue in pairwise(cues):
        gap = cue.start - before.end
        if cue.start < before.start:
            yield Problem(cue, f"it starts before cue {before.name}, which stands above it")
        elif gap < 0:
            yield Problem(cue, f"it starts {_seconds(-gap)} before cue {before.name} ends")
        elif gap < style.gap * 1000 - _TOLERANCE:
            yield Problem(cue, f"it starts {_seconds(gap)} after cue {before.name}, less than {style.gap:.3f} s")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + " s"
