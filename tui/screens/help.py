"""All keys of the screen below, and what its signs mean."""

from itertools import zip_longest
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

_SIGNS: Final = """\
[b]progress[/]  three bars: download, convert (cut at silences), transcribe
[b]chunks[/]    transcribed of cut; + while more are being cut; red where some are missing
[b]state![/]    nobody is alive who does what it waits for: open the job to read why
[b]timeline[/]  █ done, in its node's colour  ▒ in work  ░ waits  × missing
[b]in flight[/] with a worker now; redelivered: of those, more than once

[dim]The mouse works too: rows, states, names of columns, keys at the bottom. esc closes this.[/]"""


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "close")]

    def __init__(self, below: Screen[object]) -> None:
        super().__init__()
        self._keys: dict[str, list[str]] = {}  # by what they do
        for active in below.active_bindings.values():
            binding = active.binding
            if binding.description in _ours(active.node):
                self._keys.setdefault(binding.description, []).append(below.app.get_key_display(binding))

    def compose(self) -> ComposeResult:
        entries = [f"{' '.join(keys):9} {what}" for what, keys in self._keys.items()]
        half = (len(entries) + 1) // 2
        lines = (f"  {left:34} {right}" for left, right in zip_longest(entries[:half], entries[half:], fillvalue=""))
        with VerticalScroll(classes="dialog", id="help"):
            yield Static(Content("\n".join(lines)))
            yield Static(Content.from_markup("\n" + _SIGNS))


def _ours(node: DOMNode) -> set[str]:
    """What the keys do that this project gave the node: Textual's own are those that everybody knows."""
    classes = [kind for kind in type(node).__mro__ if kind.__module__.startswith("tui.")]
    bindings = (binding for kind in classes for binding in kind.__dict__.get("BINDINGS", ()))
    return {binding.description for binding in bindings if binding.description}
