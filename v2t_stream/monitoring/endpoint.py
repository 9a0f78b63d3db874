"""Serves Prometheus and health checks over HTTP, from a thread of its own: `--metrics-port`."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from v2t_stream.broker.client import NatsClient
from v2t_stream.errors import SettingsError

_BEAT: Final = 1.0  # seconds


@dataclass
class Health:
    """Whether this process can work. Its loop updates this, and another thread reads it, so a stuck loop shows."""

    client: NatsClient
    unready: Callable[[], str]  # what a healthy process still waits for, in words; empty: nothing
    wedged: float = 10.0  # seconds with a stuck loop that make it ill
    lost: float = 30.0  # and without a broker
    _turned: float = field(default_factory=time.monotonic)
    _connected: float = field(default_factory=time.monotonic)

    async def beat(self) -> None:
        """Update it until cancelled."""
        while True:
            self._turned = time.monotonic()
            if self.client.is_connected:
                self._connected = self._turned
            await asyncio.sleep(_BEAT)

    def ill(self) -> str:
        """What is wrong, in words; empty if nothing is."""
        now = time.monotonic()
        if now - self._turned > self.wedged:
            return f"the event loop has been stuck for {now - self._turned:.0f} s"
        if self.client.is_closed:
            return "the connection to the broker is closed"
        if now - self._connected > self.lost:
            return f"the broker has been away for {now - self._connected:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Why the process takes no work now, in words; empty if it does."""
        if reason := self.ill():
            return reason
        return self.unready() if self.client.is_connected else "the broker is away"


@contextlib.asynccontextmanager
async def served(host: str, port: int, health: Health, *collectors: Collector) -> AsyncGenerator[None]:
    """Serve /metrics, /healthz and /readyz while the block runs. Raises SettingsError if the port is taken."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)  # Linux only
    try:
        server = _Server((host, port), registry, health)
    except OSError as error:
        raise SettingsError(
            f"cannot serve metrics at {host}:{port} ({error.strerror}): choose another --metrics-port or --metrics-host"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    beating = asyncio.create_task(health.beat())
    try:
        yield
    finally:
        beating.cancel()
        server.shutdown()
        server.server_close()


class _Answer(NamedTuple):
    status: int
    body: str | bytes
    kind: str = "text/plain; charset=utf-8"


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self._registry, self._health = registry, health
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Skip the reverse DNS lookup, which may take long."""
        TCPServer.server_bind(self)

    def answer(self, path: str, accept: str) -> _Answer:
        try:
            match path:
                case "/metrics":
                    encoder, kind = choose_encoder(accept)
                    return _Answer(200, encoder(self._registry), kind)
                case "/healthz":
                    return _verdict(self._health.ill())
                case "/readyz":
                    return _verdict(self._health.not_ready())
        except Exception as error:  # noqa: BLE001  # the answer reports it, such as a lost broker
            return _verdict(str(error) or type(error).__name__)
        return _Answer(404, "try /metrics, /healthz or /readyz\n")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        status, body, kind = self.server.answer(urlsplit(self.path).path, self.headers.get("Accept", ""))
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """A line for each request would hide the others."""


def _verdict(trouble: str) -> _Answer:
    return _Answer(503, f"{trouble}\n") if trouble else _Answer(200, "ok\n")
