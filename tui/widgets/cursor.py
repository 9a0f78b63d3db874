"""What the table and the transcript share: a cursor that the keys move."""

from typing import Final

from textual.binding import Binding
from textual.scroll_view import ScrollView

MOVES: Final = (
    Binding("up,k", "move(-1)", "up", show=False),
    Binding("down,j", "move(1)", "down", show=False),
    Binding("pageup", "page(-1)", "page up", show=False),
)


class CursorView(ScrollView, can_focus=True):
    """Draws its visible lines itself; its keys are MOVES and what a subclass adds."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id)
        self._at = 0  # the item with the cursor

    @property
    def count(self) -> int:
        """How many items there are."""
        raise NotImplementedError

    def move_to(self, at: int) -> None:
        """Put the cursor on the item at `at`, or on the nearest there is."""
        raise NotImplementedError

    def action_move(self, items: int) -> None:
        self.move_to(self._at + items)

    def action_jump(self, to: int) -> None:
        self.move_to(to if to >= 0 else self.count - 1)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
