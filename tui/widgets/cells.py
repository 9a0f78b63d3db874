"""The contents of a table's cell: styled pieces of text, fitted to a width."""

from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from v2t_stream.text import one_line

_HEIGHTS = "▁▂▃▄▅▆▇█"


class Piece(NamedTuple):
    text: str  # one line
    style: Style


Cell = tuple[Piece, ...]


def cell(text: str, style: Style) -> Cell:
    """A cell of text that may come from outside."""
    return (Piece(one_line(text), style),)


def fitted(pieces: Cell, width: int, *, right: bool = False) -> list[Segment]:
    """The pieces in exactly `width` columns, cut off with an ellipsis if they are wider."""
    missing = width - sum(cell_len(piece.text) for piece in pieces)
    if missing < 0:
        return _cut(pieces, width)
    segments = [Segment(piece.text, piece.style) for piece in pieces]
    if missing:
        segments.insert(0 if right else len(segments), Segment(" " * missing))
    return segments


def _cut(pieces: Cell, width: int) -> list[Segment]:
    segments: list[Segment] = []
    left = width
    for piece in pieces:
        if cell_len(piece.text) < left:
            segments.append(Segment(piece.text, piece.style))
            left -= cell_len(piece.text)
            continue
        segments.append(Segment(set_cell_size(piece.text, max(0, left - 1)) + "…"[:left], piece.style))
        break
    return segments


def bar(share: float, width: int, full: Style, track: Style) -> Cell:
    """A bar of `width` columns, filled from 0 to 1 in steps of half a column: a thick line on a thin one."""
    whole, half = divmod(round(min(1.0, max(0.0, share)) * width * 2), 2)
    filled = "━" * whole + "╸" * half
    return (Piece(filled, full), Piece("─" * (width - len(filled)), track))


def sparkline(values: list[float], width: int) -> str:
    """The latest `width` values as heights; the highest reaches the top."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    if not top:
        return "".rjust(width)
    return "".join(_HEIGHTS[min(7, int(value / top * 7.99))] for value in shown).rjust(width)


def age(seconds: float) -> str:
    """How long ago, in the largest unit: 5s, 12m, 3h or 4d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
