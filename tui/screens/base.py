"""What all screens share: the bar at the top, the line that says the broker is away, and the keys that work now."""

from collections.abc import Iterator, Mapping

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from tui.screens.desk import Desk
from tui.state.known import Known
from v2t_stream.text import one_line


class MonitorScreen(Screen[None]):
    """A screen of the monitor; `body` is what stands between the bar at the top and the keys at the bottom."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.known = desk.known
        self._shown: dict[str, Content | Text] = {}
        self._offered: Mapping[str, bool] = {}  # by the keys at the bottom

    def compose(self) -> ComposeResult:
        with Horizontal(id="bar"):
            yield Static(id="places")
            yield Static(id="around")
        yield Static(id="away")
        yield from self.body()
        yield Footer(compact=True)

    def body(self) -> Iterator[Widget]:
        raise NotImplementedError

    # -- drawing

    def draw(self) -> None:
        """Show what is known now."""
        if not self.is_whole:
            return
        self._draw_bar()
        self.put("#away", Content(_away(self.known) if self.known.away else ""), layout=True)
        self.show("#away", bool(self.known.away))
        self.draw_body()
        self.offer_keys()

    def draw_body(self) -> None:
        raise NotImplementedError

    @property
    def is_whole(self) -> bool:
        """Whether its widgets exist: not before it is mounted, nor while it is taken down."""
        return self.is_mounted and bool(self.query("#away"))

    def put(self, selector: str, content: Content | Text, *, layout: bool = False) -> None:
        """Put content into a Static if it is new: a layout for each picture would take most of the time.

        `layout`: whether the widget's size depends on it.
        """
        if self._shown.get(selector) != content:
            self._shown[selector] = content
            self.query_one(selector, Static).update(content, layout=layout)

    def show(self, selector: str, shown: bool) -> None:  # noqa: FBT001  # it says what it does
        widget = self.query_one(selector)
        if widget.display != shown:
            widget.display = shown

    def on_mount(self) -> None:
        self.draw()

    def on_screen_resume(self) -> None:
        self.draw()

    def _draw_bar(self) -> None:
        mode = self.app.current_mode
        places = (
            f"[b $accent]{name}[/]" if mode == key else f"[$foreground 60%][@click=app.mode('{key}')]{name}[/][/]"
            for key, name in (("jobs", "1 Jobs"), ("fleet", "2 Fleet"))
        )
        self.put("#places", Content.from_markup(f"[b]v2t[/]  {'  '.join(places)}"), layout=True)
        around = self.known.around
        names = {info.node for info in around.nodes if info.is_alive}
        parts = [f"{len(names)} node{'s' * (len(names) != 1)}"]
        if around.dead:
            parts.append(f"{len(around.dead)} dead letter{'s' * (len(around.dead) != 1)}")
        parts.append(one_line(self.known.where, 40))
        self.put("#around", Content(" · ".join(parts)))

    # -- keys

    def offers(self) -> Mapping[str, bool]:
        """By action, whether it makes sense now; an action that is not named always does."""
        return {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  # Textual's
        """Keys typed ahead reach a screen before the widgets that they act on exist."""
        return self.is_whole and self.offers().get(action, True)

    def offer_keys(self) -> None:
        """Show at the bottom the keys that make sense now."""
        if (offered := self.offers()) != self._offered:
            self._offered = offered
            self.refresh_bindings()


def _away(known: Known) -> str:
    seen = f"This is what it was at {known.seen}. " if known.seen else ""
    return f"The broker does not answer; trying to reconnect. {seen}{one_line(known.away, 200)}"
