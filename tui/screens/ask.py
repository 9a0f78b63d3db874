"""Asks for the name of a model."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Static

from schemas.options import DEMO_MODEL
from tui.screens.dialog import Dialog
from v2t_stream.models import names, problem
from v2t_stream.text import one_line

MODELS = sorted({DEMO_MODEL}.union(*names().values()))


class Ask(Dialog[str]):
    """Returns the name of a model; None if the user goes back."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "back")]

    def __init__(self, name: str) -> None:
        """`name`: of the job; it may come from outside."""
        super().__init__()
        self._question = (
            f"Transcribe {one_line(name, 60)} again with another model? This discards the words there are now."
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(self._question))
            with Horizontal(classes="field"):
                yield Label("model")
                yield Input(suggester=SuggestFromList(MODELS), compact=True, select_on_focus=False)
            yield Static(id="wrong")
            with Horizontal(classes="buttons"):
                yield Button("Back (esc)", id="no", compact=True)
                yield Button("Transcribe again (enter)", id="yes", variant="primary", compact=True)

    def filled_in(self) -> str:
        return self.query_one(Input).value.strip()

    def decide(self) -> None:
        model = self.filled_in()
        if wrong := problem(model, None) if model else "enter the name of a model":
            self.say(wrong)
        else:
            self.dismiss(model)
