"""Keys that are typed faster than screens open."""

from collections.abc import Callable

import pytest
from textual.screen import Screen

from tests.tui.still import Still
from tui.screens.desk import Desk
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.screens.jobs import JobsScreen
from tui.screens.submit import Submit


@pytest.mark.parametrize(
    "screen",
    [
        lambda desk: DetailScreen(desk, "job"),
        lambda desk: JobsScreen(desk, "list"),
        FleetScreen,
        lambda desk: Submit(desk, files=True),
    ],
    ids=["detail", "jobs", "fleet", "submit"],
)
async def test_keys_that_come_before_a_screen_has_its_widgets_do_no_harm(
    screen: Callable[[Desk], Screen[None]],
) -> None:
    """Over a slow line, where several keys arrive at once, the monitor crashes with a traceback."""
    app = Still()
    async with app.run_test() as pilot:
        opened = screen(app.desk)
        mounting = app.push_screen(opened)
        for key, bindings in opened._bindings.key_to_bindings.items():
            if bindings[0].action != "dismiss":  # which needs no widgets
                await app._check_bindings(key, priority=bindings[0].priority)
        assert not opened.is_mounted
        await mounting
        await pilot.pause()
        assert app.screen is opened
