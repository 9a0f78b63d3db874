"""What every handler finds in its application."""

from typing import Final

from aiohttp import web

from v2t_stream.runtime.session import Session
from v2t_stream.settings import Settings

PIPELINE: Final = web.AppKey("pipeline", Session)
SETTINGS: Final = web.AppKey("settings", Settings)
