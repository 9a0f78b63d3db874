"""The two themes, and the styles that widgets draw with."""

from typing import Final, NamedTuple

from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.theme import Theme

from v2t_stream.jobs.state import State

DARK: Final = Theme(
    name="v2t-dark",
    primary="#7aa2f7",
    secondary="#7aa2f7",
    accent="#7aa2f7",
    foreground="#c8d0e0",
    background="#14171f",
    surface="#191d27",
    panel="#222836",
    success="#8fbf7f",
    warning="#e0b060",
    error="#ec7a84",
    dark=True,
    variables={"footer-key-foreground": "#7aa2f7", "footer-background": "#191d27"},
)
LIGHT: Final = Theme(
    name="v2t-light",
    primary="#2f5fc4",
    secondary="#2f5fc4",
    accent="#2f5fc4",
    foreground="#2a2f3a",
    background="#fafafa",
    surface="#f0f1f4",
    panel="#e4e7ed",
    success="#3d7a2b",
    warning="#8f5f00",
    error="#b8243a",
    dark=False,
    variables={"footer-key-foreground": "#2f5fc4", "footer-background": "#f0f1f4"},
)

# About equally bright, and ordered so that neighbours differ.
_NODES_DARK: Final = ("#7aa2f7", "#9ece6a", "#e0af68", "#bb9af7", "#7dcfff", "#f7a8c4", "#73daca", "#c0caf5")
_NODES_LIGHT: Final = ("#2f5fc4", "#3d7a2b", "#8f5f00", "#7a3fb0", "#007a99", "#b03a70", "#0f7a68", "#4a5270")

_LOOKS: dict[str, "Look"] = {}  # by the theme's name


class Look(NamedTuple):
    """Styles; only `cursor`, `cursor_away` and `match` have a background."""

    plain: Style
    dim: Style
    bold: Style
    accent: Style
    good: Style
    warn: Style
    bad: Style
    header: Style
    cursor: Style  # while the widget has the focus
    cursor_away: Style
    track: Style  # the unfilled part of a bar
    match: Style
    doubt: Style  # words that may never have been said
    nodes: tuple[Style, ...]
    speakers: tuple[Style, ...]

    def of_state(self, state: State) -> Style:
        match state:
            case "completed":
                return self.good
            case "failed":
                return self.bad
            case "queued" | "cancelled":
                return self.dim
        return self.accent


def look(app: App[object]) -> Look:
    """The styles of the theme in use, which need not be one of ours."""
    if app.theme not in _LOOKS:
        _LOOKS[app.theme] = _made(app.theme_variables, dark=app.current_theme.dark)
    return _LOOKS[app.theme]


def _made(variables: dict[str, str], *, dark: bool) -> Look:
    def color(name: str) -> Color:
        return Color.parse(variables[name])

    def style(name: str, *, bold: bool = False) -> Style:
        return Style(color=color(name).rich_color, bold=bold)

    behind, before = color("background"), color("foreground")
    dim = before.blend(behind, 0.45).rich_color
    track = before.blend(behind, 0.8).rich_color
    nodes = _NODES_DARK if dark else _NODES_LIGHT
    return Look(
        plain=style("foreground"),
        dim=Style(color=dim),
        bold=style("foreground", bold=True),
        accent=style("accent"),
        good=style("success"),
        warn=style("warning"),
        bad=style("error"),
        header=Style(color=dim, bold=True),
        cursor=Style(bgcolor=behind.blend(color("accent"), 0.25).rich_color),
        cursor_away=Style(bgcolor=before.blend(behind, 0.9).rich_color),
        track=Style(color=track),
        doubt=style("warning") + Style(underline=True),
        match=Style(color=behind.rich_color, bgcolor=color("warning").rich_color),
        nodes=tuple(Style(color=name) for name in nodes),
        # Others first, so that a speaker rarely looks like the node that did the chunk.
        speakers=tuple(Style(color=name, bold=True) for name in (*nodes[3:], *nodes[:3])),
    )
