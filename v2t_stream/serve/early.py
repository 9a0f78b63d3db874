"""Jobs that begin while their file is still being uploaded."""

import time
from typing import Final

from aiohttp import web

from v2t_stream.fleet.presence import fleet
from v2t_stream.serve.context import PIPELINE
from v2t_stream.store.pieces import STALL

_KNOWS_PIECES: Final = 5  # the first layout whose nodes read media in pieces
# A conversion waits for its sender in one of a process's four places: half of them stay free for what is there.
_EACH: Final = 2


class Early:
    """Which uploads are being read while they arrive."""

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}  # when the latest piece of each came

    async def may_begin(self, request: web.Request) -> bool:
        """Whether the fleet may read one more. Raises BrokerError."""
        readers = [info for info in await fleet(request.app[PIPELINE].connection) if info.stage in _READERS]
        if any(info.layout < _KNOWS_PIECES for info in readers):
            return False
        now = time.monotonic()
        running = sum(now - latest < STALL for latest in self._latest.values())
        return running < _EACH * sum(info.stage == "convert" for info in readers)

    def begin(self, id_: str) -> None:
        self._latest[id_] = time.monotonic()

    def touch(self, id_: str) -> None:
        """A piece of it has come."""
        if id_ in self._latest:
            self.begin(id_)

    def end(self, id_: str) -> None:
        self._latest.pop(id_, None)


_READERS: Final = ("download", "convert")
EARLY: Final = web.AppKey("early", Early)
