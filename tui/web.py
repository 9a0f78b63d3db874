"""The monitor in a browser: each open page has a process of its own.

textual-serve has no promised interface; the methods overridden here were read in version 1.1.3, and pyproject.toml caps
the version.
"""

import ipaddress
import shlex
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

import click
from aiohttp import web
from textual_serve.server import Server

from v2t_stream.errors import SettingsError


def serve(host: str, port: int, *, debug: bool = False) -> None:
    """Serve until interrupted. Raises SettingsError if it cannot listen there."""
    if not _is_loopback(host):
        click.echo(
            f"there is no password: anyone who can reach {host}:{port} can read all transcripts, submit and cancel. "
            "Leave out --host, and use ssh -L 8000:127.0.0.1:8000 from elsewhere",
            err=True,
        )
    server = _Server(host, port)
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    server.serve(debug=debug)


class _Server(Server):
    def __init__(self, host: str, port: int) -> None:
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104  # the address that a page connects to
        super().__init__(
            shlex.join([sys.executable, "-m", "v2t_stream", "tui"]),
            host=host,
            port=port,
            title="v2t",
            public_url=f"http://{f'[{name}]' if ':' in name else name}:{port}",
        )

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002  # Textual's
        click.echo(f"the monitor is at {self.public_url}; press Ctrl-C to end it")

    def initialize_logging(self) -> None:
        """No line for each request."""

    async def handle_websocket(self, request: web.Request) -> Any:
        """Refuse pages of other sites: a browser would let them connect, and they could press keys here."""
        origin = urlsplit(request.headers.get("Origin", ""))
        ours = {urlsplit(self.public_url).netloc, *([f"localhost:{self.port}"] if _is_loopback(self.host) else [])}
        if origin.netloc not in ours:
            raise web.HTTPForbidden(text="only the monitor's own page may connect")
        return await super().handle_websocket(request)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
