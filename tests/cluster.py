"""A cluster of three NATS servers, set up as in nats/cluster.conf. A test can kill and start each of them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from tests.harness import Server, free_ports
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, StoreError
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings

_NAMES = ("one", "two", "three")
_CONFIG = Path(__file__).parents[1] / "nats" / "cluster.conf"


class _Member(Server):
    """One of the three. Only its addresses differ from the file."""

    def __init__(self, folder: Path, own: int, all_: list[int]) -> None:
        super().__init__(folder)
        self._routes = {
            "--cluster": f"nats://127.0.0.1:{own}",
            "--routes": ",".join(f"nats://127.0.0.1:{port}" for port in all_),
        }

    def _arguments(self) -> list[str]:
        options = {
            "-c": _CONFIG,
            "-n": self.folder.name,
            "-a": "127.0.0.1",
            "-p": self.port,
            "-m": -1,
            "--ports_file_dir": self.folder,
            "-l": self.folder / "server.log",
            **self._routes,
        }
        return [str(word) for option in options.items() for word in option]


class Cluster:
    def __init__(self, folder: Path) -> None:
        first = free_ports(len(_NAMES))
        ports = list(range(first, first + len(_NAMES)))
        self.members = {name: _Member(folder / name, port, ports) for name, port in zip(_NAMES, ports, strict=True)}

    @property
    def url(self) -> str:
        return ",".join(member.url for member in self.members.values())


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncGenerator[tuple[Cluster, Connection]]:
    """A cluster with our topology on all of its servers, and a connection to it."""
    servers = Cluster(folder)
    try:
        for member in servers.members.values():
            member.start()
        async with await connect(servers.url, name="test") as connection:
            async with asyncio.timeout(PATIENCE):
                while True:  # until they have agreed on a leader
                    with contextlib.suppress(BrokerError, StoreError):
                        await set_up(connection, Settings(replicas=3))
                        break
            yield servers, connection
    finally:
        for member in servers.members.values():
            member.stop()


async def leader(connection: Connection, stream: str) -> str:
    """The server that leads a stream."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(BrokerError):
                if name := (await connection.api(f"STREAM.INFO.{stream}"))["cluster"].get("leader"):
                    return str(name)
            await asyncio.sleep(0.1)


async def is_whole(connection: Connection, stream: str) -> bool:
    """Whether all its replicas are up and complete."""
    info: dict[str, Any] = (await connection.api(f"STREAM.INFO.{stream}"))["cluster"]
    replicas = info.get("replicas", [])
    return len(replicas) == len(_NAMES) - 1 and all(
        replica["current"] and not replica.get("offline") for replica in replicas
    )
