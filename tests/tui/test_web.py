"""The monitor in a browser: who may open it, and that it shows the monitor."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.harness import free_ports
from tests.patience import PATIENCE


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a monitor that is served on loopback and has no broker."""
    free = free_ports()
    environment = {**os.environ, "NATS_URL": "", "V2T_DATA_DIR": str(tmp_path)}
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


async def test_its_own_page_shows_the_monitor_and_other_sites_are_refused(port: int) -> None:
    """The browser shows nothing; or any site that is open in it can cancel jobs."""
    async with aiohttp.ClientSession() as browser:
        address = f"http://127.0.0.1:{port}"
        async with browser.get(address) as page:
            assert "textual.js" in await page.text()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await browser.ws_connect(f"{address}/ws", headers={"Origin": "http://example.com"})
        shown = b""
        async with browser.ws_connect(f"{address}/ws?width=80&height=24", headers={"Origin": address}) as socket_:
            while b"There is no broker to watch" not in shown:
                message = await socket_.receive(timeout=PATIENCE)
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
                shown += message.data if isinstance(message.data, bytes) else b""


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
