"""Where no broker is known: offers the embedded one."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Offer(ModalScreen[bool]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "start it"),
        Binding("n,escape,q", "answer(False)", "quit"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, home: str) -> None:
        super().__init__()
        self._home = home

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(
                Content(
                    "No broker is known: NATS_URL is not set, and none runs on this machine.\n\n"
                    "v2t can run one here, with all five stages, for as long as this monitor is open. "
                    f"What it knows is kept in {self._home}. To keep it running, quit and use v2t up."
                )
            )
            with Horizontal(classes="buttons"):
                yield Button("Quit (n)", id="no", compact=True)
                yield Button("Start it here (y)", id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#yes").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:  # noqa: FBT001  # as the binding gives it
        self.dismiss(yes)
