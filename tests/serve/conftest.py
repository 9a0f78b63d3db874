"""What the tests of the HTTP API share."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.patience import PATIENCE
from tests.serving import Serving


@pytest.fixture
async def client(server: Serving) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the running server."""
    timeout = aiohttp.ClientTimeout(PATIENCE)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as session:
        yield session
