"""A table of any length that draws only what is visible: Textual's DataTable is too slow for many changes a second."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from tui.widgets.cells import Cell, cell, fitted
from tui.widgets.cursor import MOVES, CursorView
from tui.widgets.look import look

_GAP: Final = 1  # columns between two cells
_DRAWN: Final = 500  # rows


class Column(NamedTuple):
    """One column of a table."""

    name: str
    width: int  # in columns of the terminal; of a flexible one the least
    right: bool = False
    flexible: bool = False  # shares the room that the others leave
    least: int = 0  # it is shown if the table is at least this wide


class Table(CursorView):
    """Each row has a key; the cursor stays with its key while rows come, go and change places."""

    DEFAULT_CSS = "Table { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *MOVES,
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "jump(0)", "first", show=False),
        Binding("end,G", "jump(-1)", "last", show=False),
        Binding("enter", "open", "open"),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    class Opened(Message):
        """The row was chosen, with Enter or the mouse."""

        def __init__(self, table: "Table", key: str) -> None:
            self.table = table
            self.key = key
            super().__init__()

    class HeaderClicked(Message):
        def __init__(self, column: str) -> None:
            self.column = column
            super().__init__()

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[str, str, int], Cell],
        *,
        opens: bool = True,
        id: str | None = None,  # noqa: A002  # Textual's name
    ) -> None:
        """`cells`: given the key of a row, the name of a column and its width, what stands there.

        `opens`: whether a row can be opened.
        """
        super().__init__(id=id)
        self._columns = columns
        self._cells = cells
        self._opens = opens
        self._keys: Sequence[str] = ()
        # The last drawing of each row: most do not change from one picture to the next, and Textual caches by strip.
        self._drawn: dict[str, tuple[tuple[list[tuple[Cell, Column, int]], Style], Strip]] = {}
        self.sorted_by = ""
        self.descending = False

    @property
    def selected(self) -> str | None:
        """The key of the row with the cursor; None if there are no rows."""
        return self._keys[self._at] if self._keys else None

    def show(self, keys: Sequence[str]) -> None:
        """Show the rows with these keys, in this order."""
        selected = self.selected
        before = self._at
        self._keys = keys
        if selected is not None and not (before < len(keys) and keys[before] == selected):
            try:
                self._at = keys.index(selected)
            except ValueError:
                self._at = max(0, min(before, len(keys) - 1))
            top, height = self.scroll_offset.y, max(1, self.size.height - 1)
            # New rows above must not push away what is being read; at the very top they should be seen.
            if top or self._at >= height:
                self.set_scroll(None, max(0, min(top + self._at - before, len(keys) + 1 - height)))
        size = Size(self.size.width, len(keys) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
        self.refresh()
        if self.selected != selected:
            self.post_message(self.Moved())

    def select(self, key: str) -> None:
        """Put the cursor on the row of `key`, if it is there."""
        if key in self._keys:
            self.move_to(self._keys.index(key))

    def widths(self) -> list[tuple[Column, int]]:
        """The columns that are shown, and how wide each is now."""
        across = self.scrollable_content_region.width
        shown = [column for column in self._columns if across >= column.least]
        left = across - sum(column.width + _GAP for column in shown) - _GAP
        flexible = [column for column in shown if column.flexible]
        return [(column, column.width + (max(0, left) // len(flexible) if column.flexible else 0)) for column in shown]

    def render_line(self, y: int) -> Strip:
        width, base = self.scrollable_content_region.width, self.rich_style
        at = self.scroll_offset.y + y - 1
        if y == 0:
            return self._line(width, self._header()).apply_style(base)
        if at >= len(self._keys):
            return Strip.blank(width, base)
        key = self._keys[at]
        cells = [(self._cells(key, column.name, size), column, size) for column, size in self.widths()]
        if at == self._at:
            base += look(self.app).cursor if self.has_focus else look(self.app).cursor_away
        drawn, strip = self._drawn.get(key, (None, None))
        if strip is None or drawn != (cells, base):
            if len(self._drawn) > _DRAWN:
                self._drawn.clear()
            strip = self._line(width, cells).apply_style(base)
            self._drawn[key] = (cells, base), strip
        return strip

    def _header(self) -> list[tuple[Cell, Column, int]]:
        style = look(self.app).header
        arrow = "▾" if self.descending else "▴"
        return [
            (
                cell(column.name + (arrow if self.sorted_by and column.name == self.sorted_by else ""), style),
                column,
                size,
            )
            for column, size in self.widths()
        ]

    def _line(self, width: int, cells: list[tuple[Cell, Column, int]]) -> Strip:
        segments = [Segment(" " * _GAP)]
        for pieces, column, size in cells:
            segments += fitted(pieces, size, right=column.right)
            segments.append(Segment(" " * _GAP))
        return Strip(segments).adjust_cell_length(width)

    # -- moving

    @property
    def count(self) -> int:
        return len(self._keys)

    def move_to(self, at: int) -> None:
        at = max(0, min(at, len(self._keys) - 1))
        if at != self._at:
            self._at = at
            self.post_message(self.Moved())
        height = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if at < top:
            self.scroll_to(y=at, animate=False)
        elif at >= top + height:
            self.scroll_to(y=at - height + 1, animate=False)
        self.refresh()

    def action_page(self, pages: int) -> None:
        self.move_to(self._at + pages * max(1, self.size.height - 2))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  # Textual's
        return self._opens or action != "open"

    def action_open(self) -> None:
        if self.selected is not None:
            self.post_message(self.Opened(self, self.selected))

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is None:
            return
        if place.y == 0:
            self._click_header(place.x)
            return
        at = self.scroll_offset.y + place.y - 1
        if at >= len(self._keys):
            return
        was = self._at
        self.move_to(at)
        if self._opens and (at == was or event.chain > 1):
            self.action_open()

    def _click_header(self, x: int) -> None:
        left = _GAP
        for column, size in self.widths():
            if left <= x < left + size:
                self.post_message(self.HeaderClicked(column.name))
            left += size + _GAP
