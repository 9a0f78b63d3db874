"""The keys as a server holds them: a projection of their stream that follows every change."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from schemas.keys import Key
from v2t_stream.access.keys import fits, id_of, kept_of
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.topology.streams import KEYS
from v2t_stream.topology.subjects import ALL_KEYS

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0  # seconds until a broken watch begins anew


class Keyring:
    """While the broker is away, the keys known last go on to count: nothing can be done with them then."""

    def __init__(self, connection: Connection, changed: Callable[[str], None]) -> None:
        """`changed`: called with the id of a key that was removed or replaced."""
        self._connection = connection
        self._changed = changed
        self._keys: dict[str, Key] = {}
        self.is_read = asyncio.Event()
        self.is_used = False  # whether a key exists, or has existed since this server began

    async def run(self) -> None:
        """Follow the stream until cancelled."""
        while True:
            try:
                await self._follow({})
            except BrokerError as error:
                log.warning("the keys are read again: %s", error)
                await asyncio.sleep(_AGAIN)

    async def _follow(self, keys: dict[str, Key]) -> None:
        async with contextlib.aclosing(self._connection.watch(KEYS, ALL_KEYS)) as messages:
            async for stored in messages:
                if stored is None:
                    self._show(keys)
                elif kept := kept_of(stored):
                    self._take(keys, kept.key)
                else:
                    log.warning("%s cannot be read, so that key opens nothing", stored.subject)
                    self._drop(keys, stored.subject.rpartition(".")[2])

    def _show(self, keys: dict[str, Key]) -> None:
        before, self._keys = self._keys, keys
        self.is_used = self.is_used or bool(keys)
        self.is_read.set()
        for id_, key in before.items():
            if keys.get(id_) != key:
                self._changed(id_)

    def _take(self, keys: dict[str, Key], key: Key) -> None:
        self._drop(keys, key.id)
        if not key.is_removed:
            keys[key.id] = key
            self.is_used = True

    def _drop(self, keys: dict[str, Key], id_: str) -> None:
        if keys.pop(id_, None) and keys is self._keys:
            self._changed(id_)

    def find(self, text: str) -> Key | None:
        """The key that somebody sent; None if it is none that counts."""
        key = self._keys.get(id_of(text))
        return key if key and fits(key, text) else None
