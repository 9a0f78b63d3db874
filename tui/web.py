"""The monitor in a browser: each open page has a process of its own.

textual-serve has no promised interface; the methods overridden here, and the names in its script that page/ relies on,
were read in version 1.1.3, and pyproject.toml caps the version.
"""

import shlex
import socket
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from aiohttp import web
from textual_serve.server import Server

from v2t_stream.errors import SettingsError
from v2t_stream.host.addresses import is_address, is_loopback

_PAGE: Final = Path(__file__).parent / "page"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  # which --host may ask for

# Scripts, styles and fonts come from here and nowhere else. The terminal writes styles into the page.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self'; "
    "connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def serve(host: str, port: int, *, debug: bool = False) -> None:
    """Serve until interrupted. Raises SettingsError if it cannot listen there."""
    if not is_loopback(host):
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
        name = socket.gethostname() if host in _EVERYWHERE else host
        super().__init__(
            shlex.join([sys.executable, "-m", "v2t_stream", "tui"]),
            host=host,
            port=port,
            title="v2t",
            public_url=f"http://{f'[{name}]' if ':' in name else name}:{port}",
        )

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.router.add_static("/page", _PAGE)
        app.on_response_prepare.append(_protect)
        return app

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002  # Textual's
        click.echo(f"the monitor is at {self.public_url}; press Ctrl-C to end it")

    def initialize_logging(self) -> None:
        """No line for each request."""

    async def handle_index(self, request: web.Request) -> Any:  # noqa: ARG002  # Textual's
        """Our own page: Textual's loads a font from elsewhere, and shows another name."""
        return web.FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    async def handle_websocket(self, request: web.Request) -> Any:
        """Refuse pages of other sites: a browser would let them connect, and they could press keys here."""
        origin = urlsplit(request.headers.get("Origin", ""))
        if origin.netloc != request.host or not self._is_ours(origin.hostname or ""):
            raise web.HTTPForbidden(text="only the monitor's own page may connect")
        return await super().handle_websocket(request)

    def _is_ours(self, name: str) -> bool:
        """Whether a page may call us by this name: any site could give itself one that leads here, but no address."""
        if is_loopback(self.host):
            return is_loopback(name)
        return is_address(name) or name in (self.host, socket.gethostname(), socket.getfqdn(), "localhost")


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Content-Security-Policy"] = _POLICY.format(host=request.host)
    response.headers.update(_HEADERS)
