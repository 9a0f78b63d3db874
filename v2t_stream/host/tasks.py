"""Ends asyncio tasks for good."""

import asyncio
from typing import Any, Final

_AGAIN: Final = 0.2  # seconds until a task that goes on is cancelled again


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these until each has ended: Python 3.11's wait_for, in nats-py, can swallow a cancellation."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN)
