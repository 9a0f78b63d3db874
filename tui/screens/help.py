"""All keys of the screen below, and what its signs mean."""

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

_SIGNS: Final = """\
[b]Jobs[/]
  progress   three bars: download, convert (cut at silences), transcribe
  chunks     transcribed of cut; [b]+[/] while more are being cut; red where some are missing
  state[b]![/]     nobody is alive who could do what it waits for: open the job to read why
[b]A job[/]
  timeline   [b]█[/] done, in the colour of its node  [b]▒[/] in work  [b]░[/] waits  [b]×[/] missing
[b]Fleet[/]
  in flight  with a worker now; redelivered: of those, more than once
"""


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "close")]

    def __init__(self, below: Screen[object]) -> None:
        super().__init__()
        self._keys: dict[str, list[str]] = {}  # by what they do
        for active in below.active_bindings.values():
            binding = active.binding
            if binding.description and not binding.system:
                self._keys.setdefault(binding.description, []).append(below.app.get_key_display(binding))

    def compose(self) -> ComposeResult:
        lines = (f"  {' '.join(keys):14} {what}" for what, keys in self._keys.items())
        with VerticalScroll(classes="dialog", id="help"):
            yield Static(Content("\n".join(lines)))
            yield Static(Content.from_markup("\n" + _SIGNS))
            yield Static(
                Content.from_markup(
                    "[dim]The mouse works too: click a row, a state, a column's name.\nesc closes this.[/]"
                )
            )
