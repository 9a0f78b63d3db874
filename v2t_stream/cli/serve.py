"""`v2t serve`: the HTTP API and the page. It loads what it needs only when it is called."""

from importlib import import_module

import click

from v2t_stream.cli.broker import mention
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.settings.home import make_folder


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8700, show_default=True, help="The port to listen at.")
def serve(host: str, port: int) -> None:
    """Serve OpenAI's audio API, jobs and a page over HTTP, until stopped."""
    settings = Settings.from_environment()
    mention(settings)
    make_folder(settings.home)
    served = import_module("v2t_stream.serve.app").served

    async def run() -> None:
        async with session(settings, work=True) as pipeline, served(pipeline, settings, host, port) as url:
            stop = stop_on_signals()
            click.echo(f"serving at {url}; press Ctrl-C to stop")
            await stop.wait()

    in_loop(run())
