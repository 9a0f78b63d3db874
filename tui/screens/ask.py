"""Asks for the name of a model."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Static

from schemas.options import DEMO_MODEL
from v2t_stream.models import names, problem
from v2t_stream.text import one_line

MODELS = sorted({DEMO_MODEL}.union(*names().values()))


class Ask(ModalScreen[str]):
    """The name of a model; nothing where the user thinks better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "no")]

    def __init__(self, question: str) -> None:
        """`question` may hold words from outside."""
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(one_line(self._question)))
            with Horizontal(classes="field"):
                yield Label("model")
                yield Input(suggester=SuggestFromList(MODELS), compact=True)
            yield Static(id="wrong")
            with Horizontal(classes="buttons"):
                yield Button("Back (esc)", id="no", compact=True)
                yield Button("Do it (enter)", id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        self._done()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self._done()
        else:
            self.action_cancel()

    def _done(self) -> None:
        model = self.query_one(Input).value.strip()
        if wrong := problem(model, None) if model else "name a model":
            self.query_one("#wrong", Static).update(Content(wrong))
        else:
            self.dismiss(model)

    def action_cancel(self) -> None:
        self.dismiss("")
