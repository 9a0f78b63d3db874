"""A real Chromium, Debian's, and the page in it."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import pytest

from tests.patience import PATIENCE
from tests.serving import Serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
# Root, as in a container, has no sandbox for it.
ARGUMENTS: Final = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio")
WIDE: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is in the group dev: uv sync --group dev"
    )
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on PATH: install Debian's package chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


Opens = Callable[[Serving], "Page"]


@pytest.fixture
def opened(browser: "Browser") -> Iterator[Opens]:
    """Opens the page of a server. The test fails if a script fails, or if the browser asks another host."""
    contexts, wrong = [], list[str]()

    def open_(server: Serving) -> "Page":
        context = browser.new_context(viewport=WIDE, accept_downloads=True)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: _note(wrong, request.url, server.url))
        page.goto(server.url)
        page.locator("main h1, #enter[open]").first.wait_for(state="attached")  # it knows who is there
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def _note(wrong: list[str], asked: str, ours: str) -> None:
    if not asked.startswith((ours, "blob:")):
        wrong.append(f"it asked {asked}")


@pytest.fixture
def page(opened: Opens, server: Serving) -> "Page":
    """The page of the running server."""
    return opened(server)
