"""The table of jobs, and of the entries of a list."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.screens.ask import Ask
from tui.screens.base import MonitorScreen
from tui.screens.desk import Desk
from tui.screens.detail import DetailScreen
from tui.screens.job_cells import COLUMNS, job_cell
from tui.state.picture import Picture
from tui.state.rows import ORDERS, TABS, Row, Tab, ordered, wanted
from tui.widgets.cells import Cell
from tui.widgets.look import look
from tui.widgets.search import SearchLine
from tui.widgets.table import Table
from v2t_stream.text import one_line

_MANY: Final = 2_000  # rows
_SELDOM: Final = 5  # pictures
_EMPTY: Final = (
    "No jobs yet.\n\n"
    "Press [b $accent]s[/] to submit links or files, or the clip that comes with v2t.\n"
    "[dim]From elsewhere: v2t etl LINK, v2t convert FILE, nats pub -J v2t.submit[/]"
)


class JobsScreen(MonitorScreen):
    """All jobs, or the entries of one list."""

    AUTO_FOCUS = "#jobs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("o", "order", "sort"),
        Binding("O", "reverse", "reverse the order", show=False),
        Binding("left", "tab(-1)", "previous state", show=False),
        Binding("right", "tab(1)", "next state", show=False),
        Binding("c", "cancel", "cancel"),
        Binding("r", "retry", "retry"),
        Binding("m", "model", "redo with another model", show=False),
        Binding("escape", "back", "back"),
        Binding("s", "app.submit", "submit"),
    ]

    def __init__(self, desk: Desk, parent: str = "") -> None:
        super().__init__(desk)
        self._of = parent  # the list whose entries are shown; empty for all jobs
        self._keys: list[str] = []
        self._is_moved = True  # whether the rows or their order have been chosen anew since the last picture
        self._pictures = 0
        self._picture: Picture | None = None
        self._tab: Tab = "all"
        self._text = ""
        self._order = "age" if not parent else "entry"
        self._descending = False

    def body(self) -> Iterator[Widget]:
        yield Static(id="tabs")
        yield SearchLine("words in title, source, id or language", id="filter")
        yield Table(COLUMNS, self._cell, id="jobs")
        yield Static(Content.from_markup(_EMPTY), id="empty")

    def draw_body(self) -> None:
        self._pictures += 1
        picture = self.known.picture
        if picture is not self._picture:
            self._picture = picture
            self._is_moved = True
        # Sorting very many rows takes longer than drawing the visible ones.
        if self._is_moved or len(self._keys) < _MANY or self._pictures % _SELDOM == 0:
            self._is_moved = False
            self._arrange()
        else:
            self.query_one(Table).refresh()

    def _arrange(self) -> None:
        """Choose the rows and their order."""
        picture = self.known.picture
        rows = wanted(picture.rows(self._of), self._tab, self._text)
        if self._order == "entry":
            rows.sort(key=lambda row: int(row.id.rpartition("_")[2]), reverse=self._descending)
        else:
            rows = ordered(rows, self._order, descending=self._descending)
        self._keys = [row.id for row in rows]
        table = self.query_one(Table)
        table.sorted_by, table.descending = self._order, self._descending
        table.show(self._keys)
        counts = picture.counts(self._of)
        self._draw_tabs(counts)
        self.query_one(SearchLine).tell(f"{len(rows)} of {counts[self._tab]}", any_=bool(rows))
        self.show("#jobs", bool(rows))
        self.show("#empty", not rows)
        if not rows:
            is_empty = picture.caught_up and not counts["all"]
            self.put("#empty", Content.from_markup(_EMPTY if is_empty else self._why_none(counts["all"])))

    def _rearrange(self) -> None:
        self._is_moved = True
        self.draw()

    def _why_none(self, total: int) -> str:
        if not self.known.picture.caught_up:
            return "The broker has not answered yet." if self.known.away else "Reading the history from the broker …"
        return f"No job of {total} matches: esc clears the filter, ← and → choose other states."

    def _draw_tabs(self, counts: Counter[Tab]) -> None:
        tabs = (
            f"[b reverse] {tab} {counts[tab]} [/]"
            if tab == self._tab
            else f"[$foreground 60%][@click=screen.show('{tab}')] {tab} {counts[tab]} [/][/]"
            for tab in TABS
        )
        job = self.known.picture.job(self._of) if self._of else None
        title = one_line(job.title, 24) if job else self._of
        before = "[b]$title[/]  " if self._of else ""
        self.put("#tabs", Content.from_markup(before + "".join(tabs), title=title))

    def _cell(self, key: str, column: str, width: int) -> Cell:
        row = self.known.picture.row(self._of, key)
        # The broker may have come back without it.
        return job_cell(row, column, width, self.known, look(self.app)) if row else ()

    # -- what the keys do

    @property
    def _selected(self) -> Row | None:
        key = self.query_one(Table).selected
        return self.known.picture.row(self._of, key) if key else None

    def offers(self) -> Mapping[str, bool]:
        row, is_typing = self._selected, isinstance(self.focused, Input)
        is_retriable = bool(row and _is_retriable(row))
        return {
            "cancel": bool(row and row.tab in ("queued", "running")),
            "retry": is_retriable,
            "model": is_retriable or bool(row and row.tab == "completed"),
            "back": bool(self._of or self._text or self._tab != "all" or is_typing),
            "filter": not is_typing,
        }

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_table_moved(self) -> None:
        self.offer_keys()

    def on_table_opened(self, message: Table.Opened) -> None:
        row = self.known.picture.row(self._of, message.key)
        if row:
            self.app.push_screen(JobsScreen(self.desk, row.id) if row.length else DetailScreen(self.desk, row.id))

    def on_table_header_clicked(self, message: Table.HeaderClicked) -> None:
        if message.column == self._order:
            self._descending = not self._descending
        else:
            self._order, self._descending = message.column, False
        self._rearrange()

    def action_order(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)] if self._order in ORDERS else ORDERS[0]
        self._rearrange()

    def action_reverse(self) -> None:
        self._descending = not self._descending
        self._rearrange()

    def action_tab(self, step: int) -> None:
        self.action_show(TABS[(TABS.index(self._tab) + step) % len(TABS)])

    def action_show(self, tab: Tab) -> None:
        self._tab = tab
        self._rearrange()

    def action_filter(self) -> None:
        self.query_one(SearchLine).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._rearrange()

    def on_input_submitted(self) -> None:
        self.query_one(SearchLine).leave()
        self.query_one(Table).focus()

    def action_back(self) -> None:
        if self.query_one(SearchLine).close():
            self.query_one(Table).focus()
        elif self._tab != "all":
            self.action_show("all")
        elif self._of:
            self.app.pop_screen()

    def action_cancel(self) -> None:
        if row := self._selected:
            self.desk.cancel(row.id, row.title or row.id, row.length)

    def action_retry(self) -> None:
        row, actions = self._selected, self.desk.ready()
        if row and actions:
            self.desk.do(actions.retry(row.id))

    async def action_model(self) -> None:
        row = self._selected
        if row and self.desk.ready():
            await self.app.push_screen(Ask(row.title or row.id), functools.partial(self.desk.retry_by, row.id))


def _is_retriable(row: Row) -> bool:
    return row.state == "failed" or (row.state == "completed" and row.missing > 0)
