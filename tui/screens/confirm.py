"""Questions that are answered with yes or no."""

from typing import ClassVar, Final, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from v2t_stream.text import one_line

_SIDEWAYS: Final = Binding("left,right", "app.focus_next", show=False)


class YesOrNo(ModalScreen[bool]):
    """A text, and two buttons."""

    def __init__(self, text: str, *, no: str, yes: str, variant: Literal["primary", "error"]) -> None:
        """`no`, `yes`: what the buttons say."""
        super().__init__()
        self._text = text
        self._buttons = (
            Button(f"{no} (n)", id="no", compact=True),
            Button(f"{yes} (y)", id="yes", variant=variant, compact=True),
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(self._text))
            with Horizontal(classes="buttons"):
                yield from self._buttons

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:  # noqa: FBT001  # as the binding gives it
        self.dismiss(yes)


class Confirm(YesOrNo):
    """Asks before something is destroyed, so Enter answers no."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
        _SIDEWAYS,
    ]

    def __init__(self, question: str, answer: str) -> None:
        """`question` may hold words from outside; `answer`: what the button says that does it."""
        super().__init__(one_line(question), no="No", yes=answer, variant="error")


class Offer(YesOrNo):
    """Offers to start a broker on this machine."""

    AUTO_FOCUS = "#yes"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "start it"),
        Binding("n,escape,q", "answer(False)", "quit"),
        _SIDEWAYS,
    ]

    def __init__(self, home: str) -> None:
        super().__init__(
            "There is no broker to watch: NATS_URL is not set, and no broker runs on this machine.\n\n"
            "v2t can run one here, with all stages, as long as this monitor is open. "
            f"It keeps its data in {home}. To keep it running afterwards, quit and use v2t up.",
            no="Quit",
            yes="Start it here",
            variant="primary",
        )
