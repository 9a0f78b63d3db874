"""How what runs until it is stopped hears that it is."""

import asyncio
import signal


def stop_on_signals() -> asyncio.Event:
    """Is set by Ctrl-C, and by SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
