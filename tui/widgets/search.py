"""A line to type words into, which is shown only while it is used."""

from textual.widgets import Input


class SearchLine(Input):
    def __init__(self, placeholder: str, *, id: str) -> None:  # noqa: A002  # Textual's name
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self.display = False

    def open(self) -> None:
        self.display = True
        self.focus()

    def close(self) -> bool:
        """Empty and hide it; False if it was not open."""
        if not self.display:
            return False
        self.value = ""
        self.display = False
        return True
