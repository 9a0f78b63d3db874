"""The server: every route, and what stands before them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, NamedTuple

from aiohttp import web

from v2t_stream.access.keyring import Keyring
from v2t_stream.errors import BrokerError, SettingsError
from v2t_stream.host import tasks
from v2t_stream.host.addresses import is_loopback
from v2t_stream.host.addresses import origins as parsed
from v2t_stream.runtime.session import Session
from v2t_stream.search.file import path_for
from v2t_stream.serve import (
    asr,
    corrections,
    events,
    fleet,
    health,
    indexing,
    jobs,
    media,
    models,
    openapi,
    origins,
    problems,
    search,
    session,
    speakers,
    static,
    tus,
    uploads,
)
from v2t_stream.serve.audio import transcriptions, work
from v2t_stream.serve.board import BOARD, Board, kept
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.early import EARLY, Early
from v2t_stream.serve.events import NEWS, News
from v2t_stream.serve.gate import GATE, Gate, admitted
from v2t_stream.serve.hooks.notifier import notifying
from v2t_stream.serve.indexing import INDEX
from v2t_stream.serve.looks import LOOKS, Looks
from v2t_stream.serve.wire import PATIENT, Patience, Wire, mark_stream
from v2t_stream.settings import Settings

_ROUTES: Final = (
    health.routes,
    session.routes,
    *jobs.ROUTES,
    events.routes,
    media.routes,
    corrections.routes,
    speakers.routes,
    search.routes,
    fleet.routes,
    static.routes,
    openapi.routes,
    transcriptions.routes,
    models.routes,
    asr.routes,
    tus.routes,
)
_GRACE: Final = 3.0  # seconds that open requests have to end when the server stops, and then again to clean up


_KEYS: Final = 10.0  # seconds until the keys must have been read
_BODY: Final = 4 << 20  # bytes of a body that is read into memory, such as JSON


class Server(NamedTuple):
    """A running server, for people."""

    url: str
    access: str  # who may use it


def application(pipeline: Session, settings: Settings, host: str) -> web.Application:
    app = web.Application(middlewares=[problems.told, admitted], client_max_size=_BODY)
    app[PIPELINE] = pipeline
    app[SETTINGS] = settings
    app[BOARD] = Board(pipeline.connection)
    app[EARLY] = Early()
    app[uploads.REACHED] = uploads.Reached()
    app[LOOKS] = Looks(pipeline, app[BOARD])
    app[NEWS] = News(app[BOARD])
    app[GATE] = Gate(is_local=is_loopback(host))
    app[GATE].keyring = Keyring(pipeline.connection, app[GATE].close)
    app[INDEX] = path_for(settings.home, settings.nats_url)
    app[origins.ORIGINS] = parsed(settings.serve_origins)
    app.cleanup_ctx.append(kept)
    app.cleanup_ctx.append(indexing.kept)
    app.cleanup_ctx.append(_guarded)
    app.cleanup_ctx.append(notifying)
    app.cleanup_ctx.append(uploads.swept)
    app.on_response_prepare.append(origins.mark)
    app.on_response_prepare.append(mark_stream)
    app.on_response_prepare.append(problems.note_beginning)
    work.set_up(app)
    for routes in _ROUTES:
        app.add_routes(routes)
    return app


async def _guarded(app: web.Application) -> AsyncIterator[None]:
    """Know the keys while the application runs. Raises BrokerError if they cannot be read."""
    keyring = app[GATE].keyring
    running = asyncio.create_task(keyring.run())
    try:
        async with asyncio.timeout(_KEYS):
            await keyring.is_read.wait()
        yield
    except TimeoutError:
        raise BrokerError("the keys of the HTTP API cannot be read: have an operator run v2t topology apply") from None
    finally:
        await tasks.end(running)


@contextlib.asynccontextmanager
async def served(
    pipeline: Session, settings: Settings, host: str, port: int, *, patience: Patience = PATIENT, most: int = 0
) -> AsyncGenerator[Server]:
    """Serve while the block runs. `port`: 0 takes a free one. `most`: see Wire.

    Raises BrokerError, and SettingsError if it cannot listen there, or may not because there is no key.
    """
    app, wire = application(pipeline, settings, host), Wire(patience, most)
    app.on_shutdown.append(wire.end_streams)  # after those handlers that note that it is us who end them
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_GRACE,
        handler_cancellation=True,  # nobody works for a client that has gone
        keepalive_timeout=patience.idle,
        lingering_time=patience.linger,
    )
    try:
        await runner.setup()
        if not is_loopback(host) and not app[GATE].keyring.is_used:
            raise SettingsError(
                f"other machines reach {host}, and there is no key yet: make one with v2t keys add NAME --role operator"
            )
        async with _listening(runner, wire, host, port) as bound:
            needs_keys = app[GATE].needs_keys
            access = "clients need a key (v2t keys)" if needs_keys else "this machine needs no key"
            yield Server(f"http://{_in_url(host)}:{bound}", access)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _listening(runner: web.AppRunner, wire: Wire, host: str, port: int) -> AsyncGenerator[int]:
    """Take connections while the block runs; yields the port."""
    takes = runner.server
    assert takes  # noqa: S101  for the type checker: the runner is set up
    try:
        server = await asyncio.get_running_loop().create_server(lambda: wire.protocol(takes()), host, port)
    except OSError as error:
        why = os.strerror(error.errno or 0)  # the loop's own words repeat the address
        raise SettingsError(f"cannot listen on {host}:{port} ({why}): choose another --port") from error
    looking = asyncio.create_task(wire.run())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await tasks.end(looking)


def _in_url(host: str) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104  # which --host may ask for
    return f"[{name}]" if ":" in name else name
