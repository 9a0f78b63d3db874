"""A picture of the page for the documentation, from a real run: `uv run --group dev python -m docs.page_picture`.

It starts a broker, the stages of one machine and a server, has them work on the clips of the tests, and takes
docs/images/page.png while an interview is played and others are transcribed. The interview's words are made up.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

from playwright.sync_api import sync_playwright

from tests.browser import made
from tests.browser.acts import show, until
from tests.browser.conftest import ARGUMENTS, PROGRAMS, WIDE
from tests.harness import DATA, node, shared_broker
from tests.serving import serving

IMAGE = Path(__file__).parent / "images" / "page.png"
TITLES = ("Weekly call", "Town meeting, first part", "Town meeting, second part", "Town meeting, third part")


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        shared_broker(Path(folder) / "nats") as broker,
        node(broker.url, Path(folder) / "home", V2T_THREADS="1", V2T_BATCH="1"),
        serving(broker.url, Path(folder) / "serve") as server,
    ):
        made.on(broker.url, made.interview("mill-1"), DATA / "3min.ogg")
        with sync_playwright() as driver:
            program = next(filter(None, map(shutil.which, PROGRAMS)))
            browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
            page = browser.new_page(viewport=WIDE)
            page.goto(server.url)
            show(page, "mill-1")
            until(page, "document.querySelector('audio').readyState > 0")
            for title in TITLES:
                send(server.url, title)
            page.locator(".segment p").nth(2).click(position={"x": 120, "y": 10})
            page.locator("#jobs .state", has_text=re.compile(r"[1-5] of 6 parts")).first.wait_for()
            page.screenshot(path=IMAGE)
            browser.close()
    print(IMAGE)


def send(url: str, title: str) -> None:
    """Send a clip under this title."""
    fields = {"model": "demo", "language": "en", "force": "true", "title": title}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="talk.ogg"\r\n\r\n'
    body = "".join([*parts, head]).encode() + (DATA / "3min.ogg").read_bytes() + b"\r\n--b--\r\n"
    with urlopen(Request(f"{url}/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=b"})) as answer:  # noqa: S310  # our own server
        json.load(answer)


main()
