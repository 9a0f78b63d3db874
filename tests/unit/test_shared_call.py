"""One look at the server for a burst of messages that all need it."""

import asyncio

import pytest

from v2t_stream.runtime.shared_call import SharedCall


class Looks:
    """A call that ends when it is let go on, and fails where it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        await self.go_on.acquire()
        if self.error:
            raise self.error


async def begun(looks: Looks, count: int) -> None:
    while looks.count < count:
        await asyncio.sleep(0)


async def test_a_burst_costs_two_looks() -> None:
    """Else 300 uploads at once ask the server 300 times, and wait for each other."""
    looks = Looks()
    shared = SharedCall(looks)
    first = asyncio.create_task(shared())
    await begun(looks, 1)
    others = [asyncio.create_task(shared()) for _ in range(300)]
    looks.go_on.release()
    await first
    await begun(looks, 2)
    assert not any(task.done() for task in others)  # the first look may have been too early for them
    looks.go_on.release()
    await asyncio.gather(*others)
    assert looks.count == 2


async def test_a_shared_call_that_fails_fails_for_its_callers_only() -> None:
    """Else callers wait for ever, or believe that a server is away after it has come back."""
    looks = Looks()
    shared = SharedCall(looks)
    looks.error = ValueError("away")
    asking = [asyncio.create_task(shared()) for _ in range(3)]
    await begun(looks, 1)
    looks.go_on.release()
    assert [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == ["away"] * 3
    looks.error = None
    looks.go_on.release()
    await shared()


async def test_a_cancelled_caller_cancels_no_other() -> None:
    """Else stopping one job loses other messages."""
    looks = Looks()
    shared = SharedCall(looks)
    gives_up, stays = asyncio.create_task(shared()), asyncio.create_task(shared())
    await begun(looks, 1)
    gives_up.cancel()
    looks.go_on.release()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gives_up
