"""A server of the HTTP API within the test, on a broker where keys may come and go."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import aiohttp

from schemas.keys import KeyRole
from tests.patience import PATIENCE
from v2t_stream.access import keys
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.runtime.session import Session
from v2t_stream.serve.app import served
from v2t_stream.serve.wire import PATIENT, Patience
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore


class Inside(NamedTuple):
    """The server, and a connection to its broker."""

    url: str
    connection: Connection

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str = "", **headers: str) -> aiohttp.ClientSession:
        """A client that sends the key with each request."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return aiohttp.ClientSession(self.url, headers=headers, timeout=aiohttp.ClientTimeout(PATIENCE))

    async def key(self, name: str, role: KeyRole, *, requests: int = 0, max_bytes: int = 0) -> str:
        """A new key that the server counts."""
        text = await keys.add(self.connection, name, role, requests=requests, max_bytes=max_bytes)
        await self.answers(text, 200)
        return text

    async def answers(self, key: str, status: int) -> None:
        """Wait until the server answers this key so. Asking it costs none of the key's requests."""
        async with self.client() as client, asyncio.timeout(PATIENCE):
            while True:
                async with client.post("/v1/session", json={"key": key}) as answer:
                    if answer.status == (204 if status == 200 else status):
                        return
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def inside(
    broker: str, home: Path, *, patience: Patience = PATIENT, most: int = 0, **settings: str
) -> AsyncGenerator[Inside]:
    """A server on `broker` while the block runs. All keys are gone afterwards."""
    async with await connect(broker, name="test", patience=PATIENCE) as connection:
        pipeline = Session(connection, JetStreamStore(connection), broker, local=False)
        known = Settings(data_dir=str(home), **settings)
        try:
            async with served(pipeline, known, "127.0.0.1", 0, patience=patience, most=most) as server:
                yield Inside(server.url, connection)
        finally:
            for each in await keys.listed(connection):
                await keys.remove(connection, each.key.name)
