"""A receiver of webhooks, which checks each signature by itself."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any, Final

from aiohttp import web

from tests.patience import PATIENCE

KEY: Final = bytes(range(32))
SECRET: Final = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver:
    """Takes notices, and answers what the test wants."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answers: list[int] = []  # for the next requests; then 204
        self.paths: list[str] = []  # of `heard`
        self.refuses: dict[str, int] = {}  # by path, how many more
        self.hangs = 0  # how many requests more get no answer
        self.is_new = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        told, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        if signature := request.headers.get("webhook-signature"):
            signed = hmac.digest(KEY, f"{told}.{at}.".encode() + body, hashlib.sha256)
            assert signature == f"v1,{base64.b64encode(signed).decode()}"
        self.heard.append((dict(request.headers), json.loads(body)))
        self.paths.append(request.path)
        self.is_new.set()
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
        if left := self.refuses.get(request.path):
            self.refuses[request.path] = left - 1
            return web.Response(status=500)
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < count:
                self.is_new.clear()
                await self.is_new.wait()
