"""What all screens have around them: where one is, what is going on, and whether the broker is there."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from v2t_stream.text import one_line

if TYPE_CHECKING:
    from tui.app import Monitor


class MonitorScreen(Screen[None]):
    """A screen of the monitor; `body` is what is between the bar at the top and the keys at the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, Content | Text] = {}

    def compose(self) -> ComposeResult:
        with Horizontal(id="bar"):
            yield Static(id="places")
            yield Static(id="around")
        yield Static(id="away")
        yield from self.body()
        yield Footer(compact=True)

    @property
    def monitor(self) -> "Monitor":
        return cast("Monitor", self.app)

    def body(self) -> Iterator[Widget]:
        raise NotImplementedError

    def draw(self) -> None:
        """Show the picture as it is now."""
        if not self.is_whole:
            return
        self._draw_bar()
        self.tell("#away", Content(_away(self.monitor) if self.monitor.away else ""), layout=True)
        self.show("#away", bool(self.monitor.away))
        self.draw_body()

    @property
    def is_whole(self) -> bool:
        """Whether its widgets are there: not before it is mounted, nor while it is taken apart."""
        return self.is_mounted and bool(self.query("#away"))

    def tell(self, selector: str, content: Content | Text, *, layout: bool = False) -> None:
        """Put new content into a Static, where it is new: a layout for each picture would take most of the time.

        `layout`: whether its size depends on it.
        """
        if self._told.get(selector) != content:
            self._told[selector] = content
            self.query_one(selector, Static).update(content, layout=layout)

    def show(self, selector: str, shown: bool) -> None:  # noqa: FBT001  # it says what it does
        widget = self.query_one(selector)
        if widget.display != shown:
            widget.display = shown

    def draw_body(self) -> None:
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  # Textual's
        """Keys that were typed ahead reach a screen that has no widgets yet, which they would act on."""
        return self.is_whole

    def on_mount(self) -> None:
        self.draw()

    def on_screen_resume(self) -> None:
        self.draw()

    def _draw_bar(self) -> None:
        mode = self.monitor.current_mode
        places = (
            f"[b $accent]{name}[/]" if mode == key else f"[$foreground 60%][@click=app.mode('{key}')]{name}[/][/]"
            for key, name in (("jobs", "1 Jobs"), ("fleet", "2 Fleet"))
        )
        self.tell("#places", Content.from_markup(f"[b]v2t[/]  {'  '.join(places)}"), layout=True)
        around = self.monitor.around
        names = {info.node for info in around.nodes if info.is_alive}
        parts = [f"{len(names)} node{'s' * (len(names) != 1)}"]
        if around.dead:
            parts.append(f"{len(around.dead)} dead letter{'s' * (len(around.dead) != 1)}")
        parts.append(one_line(self.monitor.where, 40))
        self.tell("#around", Content(" · ".join(parts)))


def _away(monitor: "Monitor") -> str:
    seen = f"; this is the picture of {monitor.seen}" if monitor.seen else ""
    return f"The broker is away and is joined again by itself{seen}. {one_line(monitor.away, 200)}"
