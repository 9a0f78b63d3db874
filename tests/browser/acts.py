"""What the tests of the page do in it."""

import time
from typing import TYPE_CHECKING

import pytest

from tests.patience import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page


def until(page: "Page", fact: str) -> None:
    """Wait for it. Playwright's own way needs eval, which the page's policy forbids."""
    give_up = time.monotonic() + PATIENCE
    while not page.evaluate(fact):
        assert time.monotonic() < give_up, fact
        page.wait_for_timeout(20)


def show(page: "Page", job: str) -> None:
    """Open a job whose recording can be played."""
    page.evaluate(f"location.hash = '#/job/{job}'")
    page.locator("#player audio").wait_for()


def check_usable(page: "Page") -> None:
    """By everybody, as far as axe can tell; and without sideways scrolling."""
    found = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.viewport_size
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
