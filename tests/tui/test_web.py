"""The monitor in a browser: who may open it, what its page loads, and that it shows the monitor."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest

from tests.harness import free_ports
from tests.patience import PATIENCE

OPENED = b"There is no broker to watch"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a monitor that is served on loopback and has no broker."""
    free = free_ports()
    environment = {**os.environ, "NATS_URL": "", "V2T_DATA_DIR": str(tmp_path_factory.mktemp("web"))}
    command = [sys.executable, "-u", "-m", "v2t_stream", "tui", "--web", "--port", str(free)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert f"http://127.0.0.1:{free}" in process.stdout.readline()
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:  # it says so a moment before it listens
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", free)):
                break
            time.sleep(0.01)
        yield free
        process.terminate()


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("href", "src") and value}


async def loaded(browser: aiohttp.ClientSession, address: str) -> dict[str, str]:
    """The page and all that it names, and what that names, by URL."""
    texts: dict[str, str] = {}
    wanted = {address}
    while wanted:
        url = wanted.pop()
        async with browser.get(url) as answer:
            assert answer.status == 200, url
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self';" in policy, url
            texts[url] = (await answer.read()).decode(errors="replace")
        found = set(re.findall(r"""url\(["']?([^"')]+)""", texts[url])) if url.endswith(".css") else set()
        if url == address:
            links = Links()
            links.feed(texts[url])
            found |= links.found
        wanted |= {urljoin(url, link) for link in found if not link.startswith("data:")} - texts.keys()
    return texts


async def test_its_page_loads_nothing_from_another_host(port: int) -> None:
    """Somebody else learns who watches which broker, and where nothing else can be reached the page stays empty."""
    address = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession() as browser:
        texts = await loaded(browser, address)
    assert {urlsplit(url).netloc for url in texts} == {f"127.0.0.1:{port}"}
    assert {"textual.js", "xterm.css", "page.js", "RobotoMono-VariableFont_wght.ttf"} <= {
        url.rpartition("/")[2] for url in texts
    }
    ours = [text for url, text in texts.items() if not url.endswith((".ttf", "xterm.css"))]  # those name their authors
    named = {host for text in ours for host in re.findall(r"(?:https?|wss?)://([\w.-]+\.\w+)", text)}
    assert named <= {"www.w3.org"}  # the name of SVG, which nothing loads
    page = texts[address]
    assert "<title>v2t</title>" in page
    assert "extual" not in page.replace("textual.js", "").replace("textual-terminal", "")
    assert 'name="viewport" content="width=device-width' in page


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_its_own_page_shows_the_monitor(port: int, name: str) -> None:
    """The browser shows nothing."""
    address = f"http://{name}:{port}"
    shown = b""
    async with (
        aiohttp.ClientSession() as browser,
        browser.ws_connect(f"{address}/ws?width=80&height=24", headers={"Origin": address}) as socket_,
    ):
        while OPENED not in shown:
            message = await socket_.receive(timeout=PATIENCE)
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
            shown += message.data if isinstance(message.data, bytes) else b""


@pytest.mark.parametrize(
    ("host", "origin"),
    [("", "http://example.com"), ("evil.example", "http://evil.example"), ("", "http://127.0.0.1:1"), ("", "")],
    ids=["another site", "a name that leads here", "another page of this machine", "none"],
)
async def test_other_pages_are_refused(port: int, host: str, origin: str) -> None:
    """Any site that is open in the browser can cancel jobs."""
    headers = {"Origin": origin, "Host": host or f"127.0.0.1:{port}"}
    async with aiohttp.ClientSession() as browser:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await browser.ws_connect(f"http://127.0.0.1:{port}/ws", headers=headers)


async def test_the_page_gets_the_colours_of_the_theme_and_its_keys_arrive(port: int) -> None:
    """A light monitor has a dark edge, or keys do nothing until the first click."""
    address = f"http://127.0.0.1:{port}"
    shown, said = b"", ""
    async with (
        aiohttp.ClientSession() as browser,
        browser.ws_connect(f"{address}/ws?width=80&height=24", headers={"Origin": address}) as socket_,
    ):
        while OPENED not in shown or "#theme=14171f,c8d0e0" not in said:
            message = await socket_.receive(timeout=PATIENCE)
            shown += message.data if isinstance(message.data, bytes) else b""
            said += message.data if isinstance(message.data, str) else ""
        await socket_.send_json(["stdin", "q"])
        while message.type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            message = await socket_.receive(timeout=PATIENCE)


def test_to_listen_beyond_this_machine_comes_with_a_warning(tmp_path: Path) -> None:
    """Somebody opens it to the whole network without knowing that there is no password."""
    everywhere = "0.0.0.0"  # noqa: S104  # which is the point
    with socket.create_server((everywhere, 0)) as taken:
        port = str(taken.getsockname()[1])
        run = subprocess.run(
            [sys.executable, "-m", "v2t_stream", "tui", "--web", "--host", everywhere, "--port", port],
            env={**os.environ, "V2T_DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "there is no password" in run.stderr
    assert run.stderr.splitlines()[-1].startswith("v2t: cannot listen on 0.0.0.0")
    assert run.returncode == 1
