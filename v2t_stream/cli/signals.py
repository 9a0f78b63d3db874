"""What a running command does at Ctrl-C, SIGTERM and the end of the terminal."""

import asyncio
from collections.abc import Callable
from types import FrameType

from v2t_stream.host import signals


def at_first_signal(call: Callable[[int], object]) -> None:
    """Call `call` with the number of the next signal, in the running loop; the one after it ends this process at once.

    This replaces what an earlier call has set.
    """
    loop = asyncio.get_running_loop()

    def first(number: int, _: FrameType | None) -> None:
        signals.handle(signals.leave)
        signals.clear_echo(number)
        loop.call_soon_threadsafe(call, number)

    signals.handle(first)


def stop_on_signals() -> asyncio.Event:
    """An event that the next signal sets; see `at_first_signal`."""
    stop = asyncio.Event()
    at_first_signal(lambda _: stop.set())
    return stop
