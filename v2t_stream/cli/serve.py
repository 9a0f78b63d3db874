"""`v2t serve`: the HTTP API and the page. It loads what it needs only when it is called."""

import asyncio
from importlib import import_module

import click

from v2t_stream import logs
from v2t_stream.cli.broker import mention
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.output import say
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.host import tasks
from v2t_stream.host.addresses import is_loopback
from v2t_stream.runtime.session import session
from v2t_stream.search.file import path_for, remove
from v2t_stream.settings import Settings
from v2t_stream.settings.home import make_folder


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at. Other machines need a key: v2t keys add.",
)
@click.option("--port", default=8700, show_default=True, type=click.IntRange(0, 65535), help="The port to listen at.")
@click.option("--reindex", is_flag=True, help="Make the search index of this machine anew.")
def serve(host: str, port: int, *, reindex: bool) -> None:
    """Serve OpenAI's audio API, jobs and a page over HTTP, until stopped.

    Any number of servers may stand behind one address. Browsers and programs of other machines should come through a
    reverse proxy with TLS.
    """
    settings = Settings.from_environment()
    mention(settings)
    make_folder(settings.home)
    if reindex:
        remove(path_for(settings.home, settings.nats_url))
    app = import_module("v2t_stream.serve.app")

    async def run() -> None:
        async with (
            session(settings, work=True) as pipeline,
            app.served(pipeline, settings, host, port) as server,
        ):
            stop = stop_on_signals()
            if not is_loopback(host):
                say("keys and transcripts go unencrypted over the network: put a proxy with TLS before this", err=True)
            click.echo(f"serving at {server.url}; {server.access}; press Ctrl-C to stop")
            stopped = asyncio.create_task(stop.wait())
            watching = asyncio.create_task(pipeline.connection.watch_store())
            try:
                done, _ = await asyncio.wait({stopped, watching}, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()  # raises StoreChanged: what we have read is not true any more
            finally:
                await tasks.end(stopped, watching)

    debug = bool(click.get_current_context().find_root().obj)
    logs.start(settings.node, "serve", form=settings.log_format, debug=debug)
    in_loop(run())
