"""The form that submits links and files."""

from collections.abc import Iterator
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Select, Static, TextArea

from schemas.options import DEMO_MODEL, LANGUAGES
from tui.actions import Wish, requests_of
from tui.screens.ask import MODELS
from tui.screens.desk import Desk
from tui.screens.dialog import Dialog
from tui.widgets.ticks import Tick
from v2t_stream import demo
from v2t_stream.engines import registry
from v2t_stream.errors import Reject
from v2t_stream.jobs.options import OPTIONS, Option

_KNOWN: Final = {"language": LANGUAGES, "model": MODELS, "engine": registry.names()}  # completed while they are typed

# What most people want; the others follow in their own order.
_FIRST: Final = ("language", "model", "task", "hotwords", "prompt", "word_timestamps", "force")
ORDERED: Final = tuple(OPTIONS[name] for name in dict.fromkeys((*_FIRST, *OPTIONS)))


def _field(option: Option) -> ComposeResult:
    if option.kind is bool:
        yield Tick(option.meaning, id=option.name, compact=True)
        return
    with Horizontal(classes="field"):
        yield Label(_name(option))
        if option.choices:
            yield Select.from_values(
                option.choices, value=option.default, allow_blank=False, id=option.name, compact=True
            )
        else:
            known = SuggestFromList(sorted(_KNOWN[option.name])) if option.name in _KNOWN else None
            yield Input(placeholder=option.meaning, suggester=known, id=option.name, compact=True)


def _name(option: Option) -> str:
    return option.name.replace("_", " ")


def _about(option: Option) -> str:
    """What it means, and what may be put in."""
    return "; ".join((f"{_name(option)}: {option.meaning}", *_limits(option)))


def _limits(option: Option) -> Iterator[str]:
    if option.kind is bool:
        yield "space changes it"
    elif option.limits != "text" and option.limits not in option.meaning:
        yield option.limits


class Submit(Dialog[None]):
    AUTO_FOCUS = "#lines"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "back"),
        Binding("ctrl+s", "send", "submit"),  # not priority: it would overtake what was typed before it
        Binding("ctrl+d", "demo", "the demo clip", priority=True),
    ]

    def __init__(self, desk: Desk, *, files: bool) -> None:
        """`files`: whether files of this machine can be sent."""
        super().__init__()
        self._desk = desk
        self._files = files

    def compose(self) -> ComposeResult:
        what = "Links, or files of this machine, one per line" if self._files else "Links, one per line"
        with Vertical(classes="dialog", id="submit"):
            yield Static(Content(what))
            yield TextArea(id="lines", tab_behavior="focus", compact=True)
            with VerticalScroll(id="options", can_focus=False):
                for option in ORDERED:
                    yield from _field(option)
            yield Static(id="wrong")
            with Horizontal(classes="buttons"):
                yield Button("Back (esc)", id="no", compact=True)
                yield Button("Demo clip (^d)", id="demo", compact=True)
                yield Button("Submit (^s)", id="yes", variant="primary", compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  # Textual's
        """Keys typed ahead reach a form before its fields exist."""
        return self.is_mounted or action == "dismiss"

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        option = OPTIONS.get(event.widget.id or "")
        self.hint(_about(option) if option else f"tab goes on to the {len(OPTIONS)} options")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "demo":
            self.action_demo()

    def action_demo(self) -> None:
        """Fill in the clip that comes with v2t, and the model that knows its words."""
        self.query_one(TextArea).text = str(demo.CLIP)
        self.query_one("#model", Input).value = DEMO_MODEL
        self.query_one("#language", Input).value = "en"
        self.query_one("#force", Tick).value = True
        self.query_one("#yes").focus()

    def action_send(self) -> None:
        self.decide()

    def filled_in(self) -> Wish:
        return Wish(
            lines=self.query_one(TextArea).text,
            options={name: self._value(name) for name in OPTIONS},
            files=self._files,
        )

    def decide(self) -> None:
        try:
            requests = requests_of(self.filled_in())
        except Reject as error:
            self.say(str(error))
            return
        if actions := self._desk.ready():
            self._desk.do(actions.submit(requests))
            self.dismiss()

    def _value(self, option: str) -> str | bool:
        match self.query_one(f"#{option}"):
            case Tick(value=ticked):
                return ticked
            case Select(value=chosen):
                return str(chosen)
            case Input(value=text):
                return text
        raise AssertionError(option)
