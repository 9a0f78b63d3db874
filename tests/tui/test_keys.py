"""Keys: those typed faster than screens open, those that do nothing now, and what the documentation says of them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.dom import DOMNode
from textual.message import Message as Event
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from schemas.message import Message
from tests.tui.still import Still, chunk, done, downloaded, everything, running, shown, submitted
from tui.app import Monitor
from tui.screens.desk import Desk
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.screens.help import own_keys
from tui.screens.jobs import JobsScreen
from tui.screens.sound import Play
from tui.screens.submit import Submit
from tui.widgets.search import SearchLine
from tui.widgets.table import Table
from tui.widgets.transcript import Transcript

Facts = list[tuple[float, Message]]

SCREENS: dict[str, Callable[[Desk], Screen[None]]] = {
    "detail": lambda desk: DetailScreen(desk, "job"),
    "jobs": lambda desk: JobsScreen(desk, "list"),
    "fleet": FleetScreen,
    "submit": lambda desk: Submit(desk, files=True),
}
every_screen = pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)


@every_screen
async def test_keys_that_come_before_a_screen_has_its_widgets_do_no_harm(
    screen: Callable[[Desk], Screen[None]],
) -> None:
    """Over a slow line, where several keys arrive at once, the monitor crashes with a traceback."""
    app = Still()
    async with app.run_test() as pilot:
        opened = screen(app.desk)
        mounting = app.push_screen(opened)
        for binding in own_keys(type(opened)):
            if binding.action != "dismiss":  # which needs no widgets
                await app.run_action(binding.action, opened)
        assert not opened.is_mounted
        await mounting
        await pilot.pause()
        assert app.screen is opened


@every_screen
async def test_no_hidden_field_ever_has_the_keyboard(screen: Callable[[Desk], Screen[None]]) -> None:
    """What is typed in the first moments goes into a filter that nobody sees, and the table is empty for ever."""
    focused: list[Widget] = []

    def note(message: Event) -> None:
        if isinstance(message, events.DescendantFocus):
            focused.append(message.widget)

    app = Still()
    async with app.run_test(message_hook=note) as pilot:
        await app.push_screen(screen(app.desk))
        await pilot.press(*["tab"] * 3)
        for line in app.screen.query(SearchLine):
            line.query_one(Input).focus()
        await pilot.pause()
    assert focused
    assert not [widget for widget in focused if isinstance(widget.parent, SearchLine)]


@pytest.mark.parametrize("opened", ["jobs", "detail"])
async def test_a_search_gets_what_is_typed_with_its_key_in_one_go(opened: str) -> None:
    """The first letter of the word redoes the job with another model, or cancels it."""
    async with shown() as (app, settle, pilot):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell(running())
        await settle()
        if opened == "detail":
            await pilot.press("enter")
            app.tell(running(), "sea-3")
            await settle()
        screen = app.screen
        for key in "/mcr":
            app.post_message(events.Key("slash" if key == "/" else key, key))
        await settle()
        assert app.screen is screen
        assert screen.query_one(SearchLine).query_one(Input).value == "mcr"


@pytest.mark.parametrize(("key", "field"), [("s", "#lines"), ("m", "Input")])
async def test_a_form_gets_what_is_typed_with_its_key_in_one_go(key: str, field: str) -> None:
    """The beginning of a link is missing."""
    async with shown() as (app, settle, _):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell(done("news-1", "The news of the day", 60))
        await settle()
        for typed in f"{key}abc":
            app.post_message(events.Key(typed, typed))
        await settle()
        found = app.screen.query_one(field)
        assert (found.text if isinstance(found, TextArea) else getattr(found, "value", None)) == "abc"


async def test_escape_clears_a_filter_that_is_not_shown() -> None:
    """Jobs are missing from the table, and nothing on the screen says why or brings them back."""
    async with shown() as (app, settle, pilot):
        app.tell(everything())
        line = app.screen.query_one(SearchLine)
        line.query_one(Input).value = "typed unseen"
        await settle()
        assert not line.display
        assert app.screen.query_one(Table).count == 0
        await pilot.press("escape")
        await settle()
        assert app.screen.query_one(Table).count == 7


BEGUN: Facts = [(60.0, submitted("sea-3", "A talk")), (50.0, downloaded("sea-3", "A talk"))]


@pytest.mark.parametrize(
    ("facts", "offered"),
    [(BEGUN, False), ([*BEGUN, (9.0, chunk("sea-3", 0, error="out of memory"))], False), (running(), True)],
    ids=["no chunk", "only a gap", "words"],
)
async def test_an_export_is_offered_once_there_are_words(facts: Facts, *, offered: bool) -> None:
    """The user picks a format and a name, and then reads that there is nothing to write."""
    async with shown() as (app, settle, pilot):
        app.tell(facts)
        await settle()
        await pilot.press("enter")
        app.tell(facts, "sea-3")
        await settle()
        for action in ("export", "copy", "copy_all", "search"):
            assert bool(app.screen.check_action(action, ())) == offered, action


DOCUMENTATION = (Path(__file__).parents[2] / "docs/monitor.md").read_text()
NAMES = {
    "slash": "/",
    "question_mark": "?",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "escape": "Esc",
    "tab": "Tab",
    "enter": "Enter",
    "space": "Space",
    "home": "Home",
    "end": "End",
    "pageup": "PgUp",
    "pagedown": "PgDn",
}


@pytest.mark.parametrize("kind", [Monitor, JobsScreen, DetailScreen, FleetScreen, Submit, Play, Table, Transcript])
def test_the_documentation_names_every_key(kind: type[DOMNode]) -> None:
    """Somebody reads all of it and does not learn what can be done."""
    for binding in own_keys(kind):
        for key in binding.key.split(","):
            name = NAMES.get(key) or re.sub(r"^ctrl\+(.)$", lambda found: f"Ctrl+{found[1].upper()}", key)
            assert f"`{name}`" in DOCUMENTATION, f"{binding.description} by {name} of {kind.__name__}"
