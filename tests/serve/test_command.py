"""`v2t serve` as people start and stop it."""

import asyncio
import json
import shutil
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.harness import shared_broker
from tests.patience import PATIENCE
from tests.serving import serving
from v2t_stream.broker.connect import connect
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings


async def _listen(url: str, stop: asyncio.Event) -> None:
    async with aiohttp.ClientSession(url) as client, client.get("/v1/events") as answer:
        assert answer.status == 200
        stop.set()
        await answer.read()


def test_an_open_page_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    """Each update waits until all pages are closed, or kills what is being sent."""
    with shared_broker(tmp_path / "nats") as broker, serving(broker.url, tmp_path) as running:

        async def stop() -> None:
            listens = asyncio.Event()
            listening = asyncio.create_task(_listen(running.url, listens))
            await listens.wait()
            running.process.send_signal(signal.SIGINT)
            with pytest.raises(aiohttp.ClientPayloadError):
                await listening
            assert await asyncio.to_thread(running.process.wait, PATIENCE) == 0

        asyncio.run(stop())


def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second server of a machine ends with a traceback."""
    with shared_broker(tmp_path / "nats") as broker, serving(broker.url, tmp_path) as first:
        port = first.url.rpartition(":")[2]
        with pytest.raises(AssertionError), serving(broker.url, tmp_path, "--port", port):
            pass
    *_, line = capfd.readouterr().err.splitlines()
    assert json.loads(line)["message"] == (
        f"cannot listen on 127.0.0.1:{port} (Address already in use): choose another --port"
    )


def test_a_server_ends_when_the_broker_comes_back_with_other_streams(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It goes on showing jobs that no longer exist, and lets in whoever had a key before."""
    with shared_broker(tmp_path / "nats") as broker, serving(broker.url, tmp_path / "home") as running:
        broker.stop()
        for each in broker.folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
        broker.start()
        asyncio.run(_set_up(broker.url))
        assert running.process.wait(PATIENCE) == 1
    assert "other streams" in capfd.readouterr().err


async def _set_up(url: str) -> None:
    async with await connect(url, name="test", patience=PATIENCE) as connection:
        await set_up(connection, Settings())
