"""The timeline of a job's media in one line, coloured by node and state, and a legend of the nodes."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from tui.state.timeline import Found, Kind, Mark, Stretch, columns
from tui.widgets.look import Look, look
from v2t_stream.text import one_line

_SIGNS: Final[dict[Kind | Mark, str]] = {
    "done": "█",
    "gap": "×",
    "working": "▒",
    "waiting": "░",
    "unheard": "?",
    "doubtful": "~",
    "beyond": "┄",
}


class Timeline(Widget):
    """Two lines: the media from left to right, and the legend."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id)
        self._found: Sequence[Stretch | Found] = ()
        self._duration = 0.0
        self._colours: Mapping[str, Style] = {}
        self._done: Mapping[str, int] = {}

    def show(
        self,
        found: Sequence[Stretch | Found],
        duration: float,
        colours: Mapping[str, Style],
        done: Mapping[str, int],
    ) -> None:
        """`duration`: in seconds; `colours`: by node; `done`: how many chunks each node has done."""
        self._found, self._duration, self._colours, self._done = found, duration, colours, done
        self.refresh()

    def render(self) -> Text:
        styles, width = look(self.app), self.content_size.width
        line = Text(no_wrap=True, overflow="crop")
        for stretch in columns(self._found, self._duration, width):
            if stretch is None:
                line.append("─", styles.track)
            else:
                line.append(_SIGNS[stretch.kind], _style(stretch, self._colours, styles))
        line.append("\n")
        line.append_text(_legend(self._colours, self._done, width, styles))
        return line


def _style(stretch: Stretch | Found, colours: Mapping[str, Style], styles: Look) -> Style:
    match stretch.kind:
        case "gap" | "unheard" | "beyond":
            return styles.bad
        case "doubtful":
            return styles.warn
        case "waiting":
            return styles.dim
    return colours.get(stretch.node, styles.accent) if isinstance(stretch, Stretch) else styles.accent


def _legend(colours: Mapping[str, Style], done: Mapping[str, int], width: int, styles: Look) -> Text:
    legend = Text(no_wrap=True)
    for node, style in colours.items():
        entry = Text.assemble(
            ("■ ", style), (one_line(node, 24), styles.plain), (f" {done.get(node, 0)}   ", styles.dim)
        )
        if cell_len(legend.plain) + cell_len(entry.plain) > width:
            legend.append("…", styles.dim)
            break
        legend.append_text(entry)
    return legend
