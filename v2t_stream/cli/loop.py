"""Runs what a command does in an event loop, until it ends or a signal ends it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import uvloop

from v2t_stream.cli.signals import at_first_signal
from v2t_stream.errors import V2TError
from v2t_stream.host import signals
from v2t_stream.text import one_line

T = TypeVar("T")


def in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end. The first signal cancels it, and the second ends this process at once.

    Raises click's Exit once `main` has ended because of a signal.
    """
    with signals.restored(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_cancelled_by_signals(main))


async def _cancelled_by_signals(main: Coroutine[Any, Any, T]) -> T:
    task, received = asyncio.current_task(), 0

    def cancel(number: int) -> None:
        nonlocal received
        received = number
        if task:
            task.cancel()

    at_first_signal(cancel)
    try:
        result = await main
    except (asyncio.CancelledError, V2TError) as error:
        if not received:
            raise
        if isinstance(error, V2TError):
            click.echo(f"v2t: {one_line(str(error))}", err=True)
    if received:
        raise click.exceptions.Exit(signals.exit_code(received))
    return result
