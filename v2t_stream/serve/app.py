"""The server: every route, and what stands before them."""

import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import web

from v2t_stream.errors import SettingsError
from v2t_stream.runtime.session import Session
from v2t_stream.serve import (
    corrections,
    events,
    fleet,
    gate,
    health,
    jobs,
    media,
    openapi,
    problems,
    speakers,
    static,
)
from v2t_stream.serve.board import BOARD, Board, kept
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.events import NEWS, News
from v2t_stream.serve.looks import LOOKS, Looks
from v2t_stream.settings import Settings

_ROUTES: Final = (
    health.routes,
    *jobs.ROUTES,
    events.routes,
    media.routes,
    corrections.routes,
    speakers.routes,
    fleet.routes,
    static.routes,
    openapi.routes,
)
_GRACE: Final = 5.0  # seconds that open requests have to end when the server stops


def application(pipeline: Session, settings: Settings) -> web.Application:
    app = web.Application(middlewares=[problems.told, gate.admitted])
    app[PIPELINE] = pipeline
    app[SETTINGS] = settings
    app[BOARD] = Board(pipeline.connection)
    app[LOOKS] = Looks(pipeline, app[BOARD])
    app[NEWS] = News(app[BOARD])
    app.cleanup_ctx.append(kept)
    for routes in _ROUTES:
        app.add_routes(routes)
    return app


@contextlib.asynccontextmanager
async def served(pipeline: Session, settings: Settings, host: str, port: int) -> AsyncGenerator[str]:
    """Serve while the block runs; yields the server's URL. `port`: 0 takes a free one.

    Raises SettingsError if it cannot listen there.
    """
    runner = web.AppRunner(
        application(pipeline, settings),
        access_log=None,
        shutdown_timeout=_GRACE,
        handler_cancellation=True,  # nobody works for a client that has gone
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            why = os.strerror(error.errno or 0)  # the loop's own words repeat the address
            raise SettingsError(f"cannot listen on {host}:{port} ({why}): choose another --port") from error
        yield f"http://{_in_url(host)}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _in_url(host: str) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104  # which --host may ask for
    return f"[{name}]" if ":" in name else name
