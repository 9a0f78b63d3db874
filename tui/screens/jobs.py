"""The table of jobs, and of the entries of a list."""

import functools
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.screens.ask import Ask
from tui.screens.base import MonitorScreen
from tui.screens.detail import DetailScreen
from tui.state.picture import Picture
from tui.state.rows import ORDERS, TABS, Row, Tab, ordered, wanted
from tui.widgets.cells import Cell, Piece, bar, cell
from tui.widgets.look import Look, look
from tui.widgets.table import Column, Table
from v2t_stream.jobs.progress import clock, speed
from v2t_stream.monitoring.waiting import warning
from v2t_stream.text import one_line

_COLUMNS: Final = (
    Column("state", 13),
    Column("title", 12, flexible=True),
    Column("source", 12, flexible=True, least=130),
    Column("lang", 5, least=96),
    Column("length", 7, right=True, least=104),
    Column("progress", 14),
    Column("chunks", 9, right=True),
    Column("speed", 6, right=True),
    Column("eta", 7, right=True),
    Column("age", 4, right=True),
)
_MANY: Final = 2_000  # rows
_SELDOM: Final = 5  # pictures
_EMPTY: Final = (
    "No jobs yet.\n\n"
    "Press [b $accent]s[/] to submit links or files, or the clip that comes with v2t.\n"
    "[dim]From elsewhere: v2t etl --url, v2t convert --input, nats pub -J v2t.submit[/]"
)


class JobsScreen(MonitorScreen):
    """All jobs, or the entries of one list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("o", "order", "order"),
        Binding("O", "reverse", "turn the order round", show=False),
        Binding("left", "tab(-1)", "state before", show=False),
        Binding("right", "tab(1)", "next state", show=False),
        Binding("c", "cancel", "cancel"),
        Binding("r", "retry", "retry"),
        Binding("m", "model", "by another model", show=False),
        Binding("escape", "back", "back"),
        Binding("s", "app.submit", "submit"),
    ]

    def __init__(self, parent: str = "") -> None:
        super().__init__()
        self._of = parent  # the list whose entries are shown; empty for all jobs
        self._shown: list[str] = []
        self._is_moved = True  # whether the order or the choice of rows is another since the last picture
        self._pictures = 0
        self._picture: Picture | None = None
        self._tab: Tab = "all"
        self._text = ""
        self._order = "age" if not parent else "entry"
        self._descending = False
        self._can: tuple[bool, ...] = ()  # what the keys at the bottom say

    def body(self) -> Iterator[Widget]:
        yield Static(id="tabs")
        yield Input(placeholder="words in title, source, id or language", id="filter", compact=True)
        yield Table(_COLUMNS, self._cell, id="jobs")
        yield Static(Content.from_markup(_EMPTY), id="empty")

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self.query_one(Table).focus()

    def draw_body(self) -> None:
        self._pictures += 1
        # To put very many into their order takes longer than to draw those that are visible.
        picture = self.monitor.picture
        if picture is not self._picture:
            self._picture = picture
            self._is_moved = True
        if self._is_moved or len(self._shown) < _MANY or self._pictures % _SELDOM == 0:
            self._is_moved = False
            self._arrange()
        else:
            self.query_one(Table).refresh()
        self._offer_keys()

    def _arrange(self) -> None:
        """Choose the rows and their order."""
        picture = self.monitor.picture
        rows = wanted(picture.rows(self._of), self._tab, self._text)
        if self._order == "entry":
            rows.sort(key=lambda row: int(row.id.rpartition("_")[2]), reverse=self._descending)
        else:
            rows = ordered(rows, self._order, descending=self._descending)
        self._shown = [row.id for row in rows]
        table = self.query_one(Table)
        table.sorted_by, table.descending = self._order, self._descending
        table.show(self._shown)
        counts = picture.counts(self._of)
        self._draw_tabs(counts)
        self.show("#jobs", bool(rows))
        self.show("#empty", not rows)
        if not rows:
            is_empty = picture.caught_up and not counts["all"]
            self.tell("#empty", Content.from_markup(_EMPTY if is_empty else self._why_none(counts["all"])))

    def _rearrange(self) -> None:
        self._is_moved = True
        self.draw()

    def _why_none(self, total: int) -> str:
        if not self.monitor.picture.caught_up:
            return "Reading what the broker remembers …" if not self.monitor.away else "Nothing was heard yet."
        return f"None of {total} jobs is shown here: esc clears the filter, ← and → choose other states."

    def _draw_tabs(self, counts: Counter[Tab]) -> None:
        tabs = (
            f"[b reverse] {tab} {counts[tab]} [/]"
            if tab == self._tab
            else f"[$foreground 60%][@click=screen.show('{tab}')] {tab} {counts[tab]} [/][/]"
            for tab in TABS
        )
        before = ""
        if self._of:
            job = self.monitor.picture.job(self._of)
            before = "[b]$title[/]  "
        title = one_line(job.title) if self._of and job else self._of
        self.tell("#tabs", Content.from_markup(before + "".join(tabs), title=title))

    # -- cells

    def _cell(self, key: str, column: str, width: int) -> Cell:
        row, styles = self.monitor.picture.row(self._of, key), look(self.app)
        if row is None:  # the broker came back without it
            return ()
        match column:
            case "state":
                return self._state(row, styles)
            case "title":
                return cell(row.title or row.source, styles.dim if row.state == "cancelled" else styles.plain)
            case "source":
                return cell(row.source, styles.dim)
            case "lang":
                return cell(row.language, styles.plain)
            case "length":
                return cell(clock(row.duration) if row.duration else "", styles.plain)
            case "progress":
                return _progress(row, width, styles)
            case "chunks":
                return _chunks(row, styles)
            case "speed":
                return cell(speed(row.speed), styles.plain)
            case "eta":
                return cell(clock(row.eta) if row.eta is not None else "", styles.plain)
        return cell(age(self.monitor.now - row.started_at) if row.started_at else "", styles.dim)

    def _state(self, row: Row, styles: Look) -> Cell:
        if row.tab in ("queued", "running") and not row.length:
            job = self.monitor.picture.job(row.id)
            if job and warning(job, self.monitor.around.nodes):
                return (Piece(f"{row.state}!"[:13], styles.warn),)
        state = Piece(row.state, styles.of_state(row.state))
        return (state, Piece("!", styles.warn)) if row.falls_short else (state,)

    # -- keys

    @property
    def _selected(self) -> Row | None:
        key = self.query_one(Table).selected
        return self.monitor.picture.row(self._of, key) if key else None

    def _offer_keys(self) -> None:
        if (can := self._now()) != self._can:
            self._can = can
            self.refresh_bindings()

    def _now(self) -> tuple[bool, bool, bool, bool]:
        """Whether the selected job can be cancelled, retried, done by another model; and one can go back."""
        row = self._selected
        return (
            bool(row and _is_open(row)),
            bool(row and _is_retriable(row)),
            bool(row and (row.tab == "completed" or _is_retriable(row))),
            bool(self._of or self._text or self._tab != "all" or self._is_typing),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        can_cancel, can_retry, can_model, can_back = self._now()
        match action:
            case "cancel":
                return can_cancel
            case "retry":
                return can_retry
            case "model":
                return can_model
            case "back":
                return can_back
            case "filter":
                return not self._is_typing
        return True

    @property
    def _is_typing(self) -> bool:
        return isinstance(self.focused, Input)

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_table_moved(self) -> None:
        self._offer_keys()

    def on_table_opened(self, message: Table.Opened) -> None:
        row = self.monitor.picture.row(self._of, message.key)
        if row:
            self.app.push_screen(JobsScreen(row.id) if row.length else DetailScreen(row.id))

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
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._rearrange()

    def on_input_submitted(self) -> None:
        self.query_one("#filter").display = bool(self._text)
        self.query_one(Table).focus()

    def action_back(self) -> None:
        field = self.query_one("#filter", Input)
        if field.display:
            field.value = ""
            field.display = False
            self.query_one(Table).focus()
        elif self._tab != "all":
            self.action_show("all")
        elif self._of:
            self.app.pop_screen()

    def action_cancel(self) -> None:
        row, actions = self._selected, self.monitor.ready()
        if row and actions:
            what = f"all {row.length} entries of " if row.length else ""
            self.monitor.confirm(
                f"Cancel {what}{row.title or row.id}? What is done of it stays to be read, its media is removed.",
                "Cancel the job",
                lambda: actions.cancel(row.id),
            )

    def action_retry(self) -> None:
        row, actions = self._selected, self.monitor.ready()
        if row and actions:
            self.monitor.act(actions.retry(row.id))

    def action_model(self) -> None:
        row = self._selected
        if row and self.monitor.ready():
            self.app.push_screen(
                Ask(f"Do {row.title or row.id} again by another model. The words there are now are lost."),
                functools.partial(self.monitor.retry_by, row.id),
            )


def _is_open(row: Row) -> bool:
    return row.tab in ("queued", "running")


def _is_retriable(row: Row) -> bool:
    return row.state == "failed" or (row.state == "completed" and row.missing > 0)


def _progress(row: Row, width: int, styles: Look) -> Cell:
    """Of a list one bar; else one for each stage: download, convert, transcribe."""
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


def _chunks(row: Row, styles: Look) -> Cell:
    if not row.cut:
        return ()
    style = styles.bad if row.missing else styles.plain
    return (Piece(f"{row.done - row.missing}/{row.cut}{'+' * row.growing}", style),)


def age(seconds: float) -> str:
    """How long ago, in the largest unit: 5s, 12m, 3h or 4d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
