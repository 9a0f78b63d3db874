"""A network that a test can break."""

import asyncio
import contextlib
from typing import Self


class Proxy:
    """The network between a client and the server: it can lose data, be silent for a while, or be cut.

    A double, because a real loopback interface cannot lose data on purpose.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.swallow = asyncio.Event()
        self.open = asyncio.Event()  # while it is not set, nothing travels and nothing is lost: an unplugged cable
        self.open.set()
        self.held = bytearray()  # data sent while it was not set
        self.lost = bytearray()  # lost data
        self.carried = 0  # bytes from the server to the client
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.open.set()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End all connections; it accepts new ones."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def say(self, data: bytes) -> None:
        """Send the client something that the server did not say."""
        self._writers[0].write(data)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers = [writer, to_server]
        with contextlib.suppress(OSError):
            await asyncio.gather(self._carry(reader, to_server), self._carry(beyond, writer, lossy=True))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, lossy: bool = False) -> None:
        under_way: asyncio.Queue[bytes] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, sink, lossy=lossy))
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if not self.open.is_set():
                    self.held += data
                under_way.put_nowait(data)
        under_way.put_nowait(b"")
        await arriving

    async def _arrive(self, under_way: asyncio.Queue[bytes], sink: asyncio.StreamWriter, *, lossy: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await under_way.get():
                await self.open.wait()
                if lossy and self.swallow.is_set():
                    self.lost += data
                    continue
                sink.write(data)
                self.carried += len(data) if lossy else 0
        sink.close()
