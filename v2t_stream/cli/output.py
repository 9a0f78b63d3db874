"""Output that all commands share: JSON for scripts, tables and sentences for people.

On a terminal a table fits the width, and sentences are wrapped between words. Elsewhere a row is one line, whatever its
length: two or more blanks between cells, a dash for an empty one, and no row depends on the last cell of another.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import click
import msgspec

from v2t_stream.errors import SettingsError
from v2t_stream.text import printable

_GAP: Final = 2  # blanks between columns
_LEAST: Final = 6  # columns that a narrow terminal leaves to each cell

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class Column(NamedTuple):
    name: str
    right: bool = False  # for numbers
    # What a narrow terminal leaves out; of paths, and of links, the end says more. Nothing: the last cell is wrapped.
    # Never: what people type into the next command stays whole.
    cut: Literal["end", "start", "nothing", "never"] = "end"


def echo_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())


def unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written ({error.strerror}): choose another --output")


def is_terminal(*, err: bool = False) -> bool:
    """Whether people read what goes to stdout, or to stderr, as it comes."""
    return (sys.stderr if err else sys.stdout).isatty()


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a line for each row; on a terminal without the columns that are empty, and cut to its width."""
    from rich.cells import cell_len  # noqa: PLC0415  # a stage, which prints no table, imports this module too

    empty = "" if is_terminal() else "-"
    shown = [[printable(cell) or empty for cell in row] for row in rows]
    places = _places(shown, len(columns))
    cells = [[columns[place].name for place in places], *([row[place] for place in places] for row in shown)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if is_terminal():
        cut = [n for n, place in enumerate(places) if columns[place].cut != "never"]
        _shrink(widths, cut, shutil.get_terminal_size().columns)
    for row in cells:
        _print_row(row, widths, [columns[place] for place in places])


def _places(rows: Sequence[Sequence[str]], columns: int) -> list[int]:
    """The columns to print: on a terminal those that are not empty."""
    if not is_terminal() or not rows:
        return list(range(columns))
    return [place for place in range(columns) if any(row[place] for row in rows)]


def _print_row(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> None:
    """Print a line, and more if the last cell is wrapped."""
    last = _wrapped(row[-1], widths[-1]) if columns[-1].cut == "nothing" and is_terminal() else row[-1:]
    parts = [
        _fitted(cell, width, column, is_last=place == len(columns) - 1)
        for place, (cell, width, column) in enumerate(zip([*row[:-1], last[0]], widths, columns, strict=True))
    ]
    click.echo((" " * _GAP).join(parts).rstrip())
    for line in last[1:]:
        click.echo(" " * (sum(widths[:-1]) + _GAP * (len(widths) - 1)) + line)


def _shrink(widths: list[int], cut: Sequence[int], columns: int) -> None:
    """Take from the widest of those at the places `cut` until all fit, as far as that goes."""
    while cut and sum(widths) + _GAP * (len(widths) - 1) > columns:
        widest = max(cut, key=widths.__getitem__)
        if widths[widest] <= _LEAST:
            return
        widths[widest] -= 1


def _fitted(cell: str, width: int, column: Column, *, is_last: bool) -> str:
    """The cell in so many columns of a terminal; the last one of a line is not padded."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    if cell_len(cell) > width and is_terminal():
        shows_end = column.cut == "start" or "://" in cell
        cell = ending(cell, width) if shows_end else f"{set_cell_size(cell, width - 1)}…"
    blanks = " " * (width - cell_len(cell))
    if column.right:
        return blanks + cell
    return cell if is_last else cell + blanks


def ending(text: str, width: int) -> str:
    """The end of a text that is too wide, after an ellipsis."""
    from rich.cells import cell_len  # noqa: PLC0415

    if cell_len(text) <= width:
        return text
    kept = text
    while cell_len(kept) >= width:
        kept = kept[1:]
    return f"…{kept}"


def say(text: str, *, name: str = "", indent: int = 0, err: bool = False) -> None:
    """Print a sentence after its `name`; on a terminal wrapped between words, all lines `indent` columns from the left.

    There a name that is too long for that has a line of its own.
    """
    head, text = f"{name:{indent}}", printable(text)
    if not is_terminal(err=err):
        click.echo(f"{head}{text}", err=err)
        return
    lines = _wrapped(text, max(_LEAST, shutil.get_terminal_size().columns - indent))
    if len(head) > indent:
        click.echo(head.rstrip(), err=err)
        head = ""
    for n, line in enumerate(lines):
        click.echo(f"{' ' * indent if n or not head else head}{line}", err=err)


def _wrapped(text: str, width: int) -> list[str]:
    """At least one line of at most `width` columns."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    return [line.plain.rstrip() for line in Text(text).wrap(Console(width=width), width)] or [""]
