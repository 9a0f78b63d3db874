"""Boxes and buttons that show by their shape whether they are chosen: Textual's show it only by a colour."""

from textual.widgets import Checkbox, RadioButton


class Tick(Checkbox):
    BUTTON_LEFT, BUTTON_INNER, BUTTON_RIGHT = "", "[ ]", ""

    def watch_value(self) -> None:
        self.BUTTON_INNER = "[x]" if self.value else "[ ]"
        super().watch_value()


class Choice(RadioButton):
    BUTTON_LEFT, BUTTON_INNER, BUTTON_RIGHT = "", "( )", ""

    def watch_value(self) -> None:
        self.BUTTON_INNER = "(•)" if self.value else "( )"
        super().watch_value()
