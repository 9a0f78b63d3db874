"""A line to type words into, which is shown only while it is used, and beside it how many match."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static


class _Words(Input):
    def allow_focus(self) -> bool:
        """Textual would give the focus to a hidden field too, and what is typed there is seen by nobody."""
        return super().allow_focus() and self.parent is not None and self.parent.display


class SearchLine(Horizontal):
    def __init__(self, placeholder: str, *, id: str) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id, classes="search")
        self._words = _Words(placeholder=placeholder, compact=True, select_on_focus=False)
        self._found = Static()
        self._said = ""
        self.display = False

    def compose(self) -> ComposeResult:
        yield self._words
        yield self._found

    def open(self) -> None:
        self.display = True
        self.screen.set_focus(self._words)  # at once: `focus` waits until other keys have been handled

    def close(self) -> bool:
        """Empty and hide it; False if it was empty and hidden."""
        if not (self.display or self._words.value):
            return False
        self._words.value = ""
        self.display = False
        return True

    def leave(self) -> None:
        """Hide it if nothing was typed."""
        self.display = bool(self._words.value)

    def tell(self, matches: str, *, any_: bool) -> None:
        """Show beside the words how many match, such as 3 of 9; `any_`: whether something does."""
        said = (matches if any_ else "no match") if self._words.value else ""
        if said != self._said:
            self._said = said
            self._found.set_class(not any_, "none")
            self._found.update(Content(said))
