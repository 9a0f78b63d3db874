"""Answers in JSON."""

from typing import Any

import msgspec
from aiohttp import web


def answered(told: Any, status: int = 200, **headers: str) -> web.Response:
    """An answer. `told`: what msgspec can encode, or JSON."""
    body = told if isinstance(told, bytes) else msgspec.json.encode(told)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
