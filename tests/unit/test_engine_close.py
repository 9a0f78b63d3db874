"""The end of an engine's host at an awkward moment."""

import asyncio

import pytest

from stages.engine_host import EngineHost
from tests.patience import PATIENCE
from v2t_stream.errors import Retry


async def test_an_engine_that_is_just_starting_is_closed_too() -> None:
    """A worker that is stopped as its first chunk comes in never ends, and its engine stays."""
    host = EngineHost("any", device="cpu", threads=1)
    call = asyncio.create_task(host.warm("demo"))
    await asyncio.sleep(0)  # it begins
    assert host._turn.locked()
    assert host.pid is None
    async with asyncio.timeout(PATIENCE):
        await host.close()
    with pytest.raises(Retry, match="is being stopped"):
        await call
    assert host._process is None
