"""The columns of the table of jobs, and what stands in them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tui.state.known import Known
from tui.state.rows import Row
from tui.widgets.cells import Cell, Piece, age, bar, cell
from tui.widgets.look import Look
from tui.widgets.table import Column
from v2t_stream.units import clock, speed

COLUMNS: Final = (
    Column("state", 13),
    Column("title", 12, flexible=True),
    Column("source", 12, flexible=True, least=130),
    Column("lang", 5, least=96),
    Column("length", 7, right=True, least=104),
    Column("progress", 14, least=72),
    Column("chunks", 9, right=True),
    Column("speed", 6, right=True, least=72),
    Column("eta", 7, right=True, least=76),
    Column("age", 4, right=True),
)


class _Place(NamedTuple):
    """Where a cell is drawn."""

    known: Known
    styles: Look
    width: int


def job_cell(row: Row, column: str, width: int, known: Known, styles: Look) -> Cell:
    return _CELLS[column](row, _Place(known, styles, width))


def _state(row: Row, place: _Place) -> Cell:
    styles = place.styles
    if row.tab in ("queued", "running") and not row.length:
        job = place.known.picture.job(row.id)
        if job and (hold := place.known.hold(job)):
            return (Piece(hold.word, styles.dim if hold.passes else styles.warn),)
    state = Piece(row.state, styles.of_state(row.state))
    return (state, Piece("!", styles.warn)) if row.falls_short else (state,)


def _title(row: Row, place: _Place) -> Cell:
    return cell(row.title or row.source, place.styles.dim if row.state == "cancelled" else place.styles.plain)


def _progress(row: Row, place: _Place) -> Cell:
    """A bar for each stage: download, convert, transcribe; for a list a single one."""
    styles, width = place.styles, place.width
    full = styles.of_state(row.state) if row.state != "completed" else styles.dim
    if row.length:
        return bar(row.shares.transcribe, width, full, styles.track)
    gap = (Piece(" ", styles.plain),)
    return (
        *bar(row.shares.download, 3, full, styles.track),
        *gap,
        *bar(row.shares.convert, 3, full, styles.track),
        *gap,
        *bar(row.shares.transcribe, width - 8, full, styles.track),
    )


def _chunks(row: Row, place: _Place) -> Cell:
    if not row.cut:
        return ()
    style = place.styles.bad if row.missing else place.styles.plain
    return (Piece(f"{row.done - row.missing}/{row.cut}{'+' * row.growing}", style),)


def _age(row: Row, place: _Place) -> Cell:
    return cell(age(place.known.now - row.started_at) if row.started_at else "", place.styles.dim)


def _plain(text: Callable[[Row], str]) -> Callable[[Row, _Place], Cell]:
    return lambda row, place: cell(text(row), place.styles.plain)


_CELLS: Final[Mapping[str, Callable[[Row, _Place], Cell]]] = {
    "state": _state,
    "title": _title,
    "source": lambda row, place: cell(row.source, place.styles.dim),
    "lang": _plain(lambda row: row.language),
    "length": _plain(lambda row: clock(row.duration) if row.duration else ""),
    "progress": _progress,
    "chunks": _chunks,
    "speed": _plain(lambda row: speed(row.speed)),
    "eta": _plain(lambda row: clock(row.eta) if row.eta is not None else ""),
    "age": _age,
}
