"""Ends asyncio tasks for good, and lets others end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_AGAIN: Final = 0.2  # seconds until a task that goes on is cancelled again


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these until each has ended: Python 3.11's wait_for, in nats-py, can swallow a cancellation."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN)


async def to_its_end(work: Coroutine[Any, Any, T], patience: float) -> T:
    """Do `work`. If cancelled meanwhile, first wait `patience` seconds for its end, so that it has no effect later."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=patience)
        raise
