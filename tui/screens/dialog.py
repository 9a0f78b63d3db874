"""What dialogs with a field share: Enter and the button do it, and a line says what is wrong."""

from typing import TypeVar

from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """Has a Static `wrong`, a button `yes` that does it, and a button `no` that goes back."""

    def decide(self) -> None:
        """Do it, or say what is wrong."""
        raise NotImplementedError

    def say(self, wrong: str) -> None:
        self.query_one("#wrong", Static).update(Content(wrong))

    def on_input_submitted(self) -> None:
        self.decide()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "yes":
                self.decide()
            case "no":
                self.dismiss()
