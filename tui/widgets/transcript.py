"""The transcript of one job, of which only the visible lines are drawn."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import ClassVar, Final

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from tui.state.entries import Entry, nearest
from tui.widgets.cursor import MOVES, CursorView
from tui.widgets.look import Look, look
from v2t_stream.units import clock

_INDENT: Final = 10  # columns for the time
_OURS: Final = Style(italic=True)  # what nobody said, but we say about it


class Transcript(CursorView):
    """Follows the end while the cursor is there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *MOVES,
        Binding("pagedown,space", "page(1)", "page down", show=False),
        Binding("home", "jump(0)", "first", show=False),
        Binding("end", "jump(-1)", "last, and follow", show=False),
    ]

    class Moved(Message):
        """The cursor is on another entry."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Entry] = []
        self._lines: list[list[str]] = []  # by entry
        self._tops: list[int] = [0]  # the line on which each entry begins; last, the number of lines
        self._wrapped: dict[tuple[str, int], list[str]] = {}
        self._follow = True
        self._width = 0
        self._search = ""
        self._places: list[int] | None = None  # of the entries that match; None: to be found anew
        self.colours: dict[str, Style] = {}  # by node
        self.voices: dict[str, Style] = {}  # by the name of a speaker

    @property
    def current(self) -> Entry | None:
        return self._entries[self._at] if self._entries else None

    @property
    def all_entries(self) -> list[Entry]:
        return self._entries

    def show(self, found: list[Entry], *, growing: bool) -> None:
        """Show these entries. The cursor stays at its place in the media, or at the end while the text is `growing`."""
        current = self.current
        if found == self._entries and self._width == self._room:
            return
        self._entries = found
        self._places = None
        if current is None:
            self._follow = growing
        if self._follow:
            self._at = max(0, len(found) - 1)
        elif current is None:
            self._at = 0
        else:
            self._at = nearest(found, current)
        self._wrap()
        self._go(self._at)

    @property
    def _room(self) -> int:
        return max(20, self.scrollable_content_region.width - _INDENT - 1)

    def _wrap(self) -> None:
        if self._width != self._room:
            self._width = self._room
            self._wrapped.clear()
        before, self._wrapped = self._wrapped, {}
        for entry in self._entries:
            key = (entry.text, self._width)
            self._wrapped[key] = before.get(key) or list(_folded(entry.text, self._width))
        self._lines = [self._wrapped[entry.text, self._width] for entry in self._entries]
        self._tops = [0, *accumulate(map(len, self._lines))]
        size = Size(self.size.width, self._tops[-1])
        if size != self.virtual_size:
            self.virtual_size = size
        self.refresh()

    def on_resize(self) -> None:
        if self._width != self._room:
            self._wrap()
            self._go(self._at)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        line = self.scroll_offset.y + y
        if line >= self._tops[-1]:
            return Strip.blank(width, self.rich_style)
        at = bisect_right(self._tops, line) - 1
        entry = self._entries[at]
        styles = look(self.app)
        first = line == self._tops[at]
        mark = Segment("▌" if first or entry.is_said else " ", self.colours.get(entry.node, styles.track))
        time = Segment(f" {clock(entry.start) if first else '':>7}  ", styles.dim)
        of_entry = line - self._tops[at]
        segments = [mark, time, *self._pieces(entry, self._lines[at], of_entry, styles)]
        strip = Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)
        if at == self._at:
            cursor = styles.cursor if self.has_focus else styles.cursor_away
            strip = Strip([Segment(part, (own + cursor) if own else cursor) for part, own, _ in strip], width)
        return strip

    def _pieces(self, entry: Entry, lines: list[str], at: int, styles: Look) -> Iterator[Segment]:
        """The line `at` of an entry: who speaks, doubtful words, and what is searched for, in styles of their own."""
        style = _style(entry, styles)
        parts = [(first, last, styles.doubt) for first, last in entry.doubts]
        if entry.named:
            parts.insert(0, (0, entry.named, self.voices.get(entry.speaker, styles.dim)))
        if not parts:
            yield from self._matched(lines[at], style, styles.match)
            return
        begin = offset(entry.text, lines, at)
        end, done = begin + len(lines[at]), begin
        for first, last, own in parts:
            here, there = max(first, begin), min(last, end)
            if here < there:
                yield from self._matched(entry.text[done:here], style, styles.match)
                yield from self._matched(entry.text[here:there], own, styles.match)
                done = there
        yield from self._matched(entry.text[done:end], style, styles.match)

    def _matched(self, text: str, style: Style, match: Style) -> Iterator[Segment]:
        if not self._search:
            yield Segment(text, style)
            return
        for part in re.split(f"({re.escape(self._search)})", text, flags=re.IGNORECASE):
            if part:
                yield Segment(part, match if part.lower() == self._search.lower() else style)

    # -- search

    def search(self, text: str) -> None:
        """Mark `text`, and go to the next entry that has it."""
        self._search = text
        self._places = None
        self.refresh()
        found = self._found()
        if found and self._at not in found:
            self.step(1)

    @property
    def matches(self) -> tuple[int, int]:
        """Which of the matching entries has the cursor, from 1 (0: none), and how many match."""
        found = self._found()
        place = bisect_left(found, self._at)
        return (place + 1 if place < len(found) and found[place] == self._at else 0), len(found)

    def _found(self) -> list[int]:
        if self._places is None:
            wanted = self._search.lower()
            texts = enumerate(self._entries if wanted else ())
            self._places = [at for at, entry in texts if wanted in entry.text.lower()]
        return self._places

    def step(self, step: int) -> None:
        """Go to the next match, or with -1 to the one before, wrapping around."""
        self._step(self._found(), step)

    def step_gap(self) -> None:
        """Go to the next place where words are missing, wrapping around."""
        self._step([at for at, entry in enumerate(self._entries) if entry.is_missing], 1)

    def _step(self, places: list[int], step: int) -> None:
        if not places:
            return
        if step > 0:
            to = next((at for at in places if at > self._at), places[0])
        else:
            to = next((at for at in reversed(places) if at < self._at), places[-1])
        self._follow = False
        self._go(to)

    # -- moving

    def _go(self, at: int) -> None:
        at = max(0, min(at, len(self._entries) - 1))
        self._at = at
        self.post_message(self.Moved())
        if not self._entries:
            return
        height = max(1, self.size.height)
        top, bottom = self._tops[at], self._tops[at + 1]
        if top < self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)
        elif bottom > self.scroll_offset.y + height:
            self.scroll_to(y=bottom - height, animate=False, force=True)
        self.refresh()

    @property
    def count(self) -> int:
        return len(self._entries)

    def move_to(self, at: int) -> None:
        self._follow = at >= len(self._entries) - 1
        self._go(at)

    def action_page(self, pages: int) -> None:
        if self._entries:
            line = self._tops[self._at] + pages * max(1, self.size.height - 1)
            self.move_to(bisect_right(self._tops, max(0, line)) - 1)

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place and (line := self.scroll_offset.y + place.y) < self._tops[-1]:
            self.move_to(bisect_right(self._tops, line) - 1)


def _style(entry: Entry, styles: Look) -> Style:
    match entry.kind:
        case "said" | "doubtful":
            return styles.plain
        case "gap" | "unheard" | "end":
            return styles.bad + _OURS
        case "doubt":
            return styles.warn + _OURS
        case "working":
            return styles.accent + _OURS
    return styles.dim + _OURS


def offset(text: str, lines: list[str], at: int) -> int:
    """Where in `text` the line `at` of its lines begins."""
    begin = 0
    for line in lines[:at]:
        begin += len(line)
        begin += text[begin : begin + 1] == " "
    return begin


def _folded(text: str, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` columns, broken between words if possible."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *whole, line = chop_cells(word, width) or [""]
        yield from whole
    yield line
