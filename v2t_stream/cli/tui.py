"""`v2t tui`: the monitor, imported by name, so that only this command loads it and what it needs."""

import logging
from importlib import import_module

import click

from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.signals import at_first_signal
from v2t_stream.host import signals
from v2t_stream.settings import Settings


@click.command()
@click.option("--web", is_flag=True, help="Show it in the browser instead of here.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --web: the address to listen at.")
@click.option("--port", default=8000, show_default=True, help="With --web: the port to listen at.")
def tui(*, web: bool, host: str, port: int) -> None:
    """Watch jobs and the fleet, read along, and act, in the terminal or in the browser."""
    settings = Settings.from_environment()
    if web:
        import_module("tui.web").serve(host, port)
        return
    # Log lines would be written across the screen.
    logging.getLogger().addHandler(logging.NullHandler())
    debug = bool(click.get_current_context().find_root().obj)
    monitor = import_module("tui.app").Monitor(settings, debug=debug)
    received: list[int] = []

    def leave(number: int) -> None:
        received.append(number)
        monitor.exit()

    async def watch() -> None:
        # Not cancelled, as other commands are: Textual would leave the terminal as it is, or hang.
        at_first_signal(leave)
        await monitor.run_async()

    in_loop(watch())
    if monitor.failure:
        raise monitor.failure
    if received:
        click.get_current_context().exit(signals.exit_code(received[0]))
