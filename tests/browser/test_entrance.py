"""The page of a server that needs keys."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.browser import made
from tests.browser.acts import check_usable, show, until
from tests.browser.conftest import Opens
from tests.harness import DATA, shared_broker
from tests.serving import Serving, serving
from v2t_stream.access import keys

if TYPE_CHECKING:
    from playwright.sync_api import Page

Locked = tuple[Serving, dict[str, str]]


@pytest.fixture(scope="module")
def locked(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A server with a finished job, and the keys that open it, by their roles."""
    folder = tmp_path_factory.mktemp("locked")
    with ExitStack() as stack, ThreadPoolExecutor(1) as elsewhere:
        broker = elsewhere.submit(stack.enter_context, shared_broker(folder / "nats")).result()
        made.on(broker.url, made.interview("mill-1"), DATA / "5s.flac")
        given = {
            role: made.connected(broker.url, lambda connection, role=role: keys.add(connection, role, role))  # type: ignore[misc]
            for role in ("viewer", "operator")
        }
        yield stack.enter_context(serving(broker.url, folder / "serve")), given


def sign_in(page: "Page", key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_key_opens_the_page_and_stays_out_of_reach_of_scripts(opened: Opens, locked: Locked) -> None:
    """Whoever beyond this machine may use the server cannot, or a script of somebody else's takes the key."""
    server, given = locked
    page = opened(server)
    page.get_by_role("heading", name="This server needs a key").wait_for()
    check_usable(page)
    sign_in(page, "v2t_wrong")
    page.get_by_role("alert").filter(has_text="not valid").wait_for()
    assert not page.locator("#jobs a").count()
    sign_in(page, given["operator"])
    page.locator("#jobs a").first.wait_for()
    assert page.evaluate("document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })") == "{}"
    show(page, "mill-1")
    until(page, "document.querySelector('audio').readyState > 0")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="This server needs a key").wait_for()


def test_a_viewer_is_offered_nothing_that_is_refused(opened: Opens, locked: Locked) -> None:
    """The page offers what the server then refuses."""
    server, given = locked
    page = opened(server)
    sign_in(page, given["viewer"])
    page.locator("#jobs a").first.wait_for()
    assert not page.get_by_text("Choose files").is_visible()
    show(page, "mill-1")
    page.get_by_role("link", name="Export").wait_for()
    for name in ("Remove", "Retry", "Correct"):
        assert not page.get_by_role("button", name=name, exact=True).count()
    page.locator(".segment p").first.dblclick()
    assert not page.get_by_role("textbox", name="Correct the segment").count()
