"""A broker set up by `v2t secrets init`, with exactly its files, on a free port."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness import free_ports
from tests.patience import PATIENCE
from v2t_stream.access import credentials
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import server_path
from v2t_stream.broker.login import Login
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings


class Secured:
    """The folder of the broker's secrets, and its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports()
        credentials.create(folder, ["localhost", "127.0.0.1"], f"127.0.0.1:{self.port}")
        config = folder / "server.conf"
        config.write_text(config.read_text().replace("127.0.0.1:8222", "127.0.0.1:-1"))
        self.start()

    def start(self) -> None:
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        command = ["-c", self.folder / "server.conf", "--ports_file_dir", self.folder]
        self._process = subprocess.Popen([server_path(), *command, "--log", self.folder / "server.log"])
        give_up = time.monotonic() + PATIENCE
        while not list(self.folder.glob("*.ports")):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def reload(self) -> None:
        """Let it reload its files, and wait until it has."""
        before = self.log.count("Reloaded server configuration")
        pid = int((self.folder / credentials.PID).read_text())
        os.kill(pid, signal.SIGHUP)
        give_up = time.monotonic() + PATIENCE
        while self.log.count("Reloaded server configuration") == before:
            assert time.monotonic() < give_up, self.log
            time.sleep(0.02)

    def environment(self, user: str) -> dict[str, str]:
        """The variables in the user's file."""
        text = (self.folder / f"{user}.env").read_text()
        return dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))

    async def connect(self, user: str) -> Connection:
        settings = Settings.from_environment(self.environment(user))
        return await connect(settings.nats_url, name=f"test {user}", patience=PATIENCE, login=Login.of(settings))


@contextlib.contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """A secured broker with our topology."""

    async def create() -> None:
        async with await running.connect("operator") as connection:
            await set_up(connection, Settings())

    running = Secured(folder)
    try:
        with ThreadPoolExecutor() as pool:  # the calling test may already run an event loop
            pool.submit(asyncio.run, create()).result()
        yield running
    finally:
        running.stop()
