"""All keys of the screen below, and what its signs mean."""

from collections.abc import Iterator
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
[b]waiting![/]     nobody can do it now: open the job to see why
[b]paused[/]       its queue is paused: p in the fleet resumes it
[b]takes turns[/]  chunks of other jobs are in progress
[b]completed![/]   the transcript is incomplete: open the job to see why
[b]chunks[/]       done of cut; + while cutting goes on; red: some missing
[b]timeline[/]     █ done (by node)  ▒ in progress  ░ waiting  × missing
             ? no words heard  ~ perhaps never said  ┄ cut off
[dim]You can click rows, states, column names and keys. esc closes this.[/]"""


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "close")]

    def __init__(self, below: Screen[object]) -> None:
        super().__init__()
        self._keys = {
            binding.description: [below.app.get_key_display(each) for each in Binding.make_bindings([binding])]
            for node in filter(None, (below.focused, below, below.app))
            for binding in own_keys(type(node))
        }

    def compose(self) -> ComposeResult:
        entries = [f"{' '.join(keys):9} {what}" for what, keys in self._keys.items()]
        half = (len(entries) + 1) // 2
        lines = (f"  {left:34} {right}" for left, right in zip_longest(entries[:half], entries[half:], fillvalue=""))
        with VerticalScroll(classes="dialog", id="help"):
            yield Static(Content("\n".join(lines)))
            yield Static(Content.from_markup("\n" + _SIGNS))


def own_keys(node: type[DOMNode]) -> Iterator[Binding]:
    """The keys that this project gave such nodes, also those that do nothing at present, without Textual's own."""
    for kind in node.__mro__:
        if kind.__module__.startswith("tui."):
            for binding in kind.__dict__.get("BINDINGS", ()):
                if binding.description:
                    yield binding
