"""What dialogs with fields share: Enter and the button do it, and a line says what is wrong."""

from typing import TypeVar

from textual import on
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Select, Static, TextArea

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """Has a Static `wrong`, a button `yes` that does it, and a button `no` that goes back."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: object = None  # what was filled in when it was refused
        self._hint = ""

    def filled_in(self) -> object:
        """All that is filled in."""
        raise NotImplementedError

    def decide(self) -> None:
        """Do it, or say what is wrong."""
        raise NotImplementedError

    @property
    def repeats(self) -> bool:
        """Whether what is filled in was refused just now."""
        return self.filled_in() == self._refused

    def say(self, wrong: str) -> None:
        self._refused = self.filled_in()
        self.query_one("#wrong", Static).update(Content.styled(wrong, "$error"))

    def hint(self, text: str) -> None:
        """Say this where errors are said, while there is none."""
        self._hint = text
        if self._refused is None:
            self.query_one("#wrong", Static).update(Content.styled(text, "$foreground 60%"))

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Select.Changed)
    @on(Checkbox.Changed)
    def forget_error(self) -> None:
        """What was wrong is being corrected. News of what was typed before it was refused may come later."""
        if self._refused is not None and not self.repeats:
            self._refused = None
            self.hint(self._hint)

    def on_input_submitted(self) -> None:
        self.decide()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "yes":
                self.decide()
            case "no":
                self.dismiss()
