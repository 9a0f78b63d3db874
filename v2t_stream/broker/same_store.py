"""Requests to one and the same store: they notice a server that comes back with other streams, or older ones."""

import asyncio
import contextlib
import json
import math
import time
from functools import partial
from typing import Final

import nats.errors

from v2t_stream.broker.client import NatsClient
from v2t_stream.broker.lineage import Lineage
from v2t_stream.broker.requests import AGAIN, Requests

_DOUBT: Final = 60.0  # seconds after a reconnect in which readers check again that the streams are the same
_RECHECK: Final = 2.0  # seconds between two such checks


class SameStore(Requests):
    """Requests, and the streams they depend on."""

    def __init__(self, client: NatsClient, url: str, *, again: float = AGAIN) -> None:
        super().__init__(client, url, again=again)
        self.lineage = Lineage(url)
        self._checked = 0  # the number of reconnects at the last successful check
        self._doubted = -math.inf  # the time of that check, by the monotonic clock

    async def hold_to(self, stream: str) -> None:
        """Accept only the present streams: if `stream` is another one after a reconnect, publishing raises.

        A message of a lost store shares its number with another message in the next: its ack would remove work
        that nobody has done, and its job may have the id of another job. Raises BrokerError.
        """
        self._checked = self.client.stats["reconnects"]
        self.lineage.hold(stream, await self.api(f"STREAM.INFO.{stream}"))

    async def check_store(self) -> None:
        """Raises StoreChanged like `hold_to`, and nats.errors.Error while it cannot find out."""
        if self.is_checked:
            return
        if not self.client.is_connected:
            raise nats.errors.ConnectionReconnectingError
        reconnects = self.client.stats["reconnects"]
        await self._compare()
        self._checked, self._doubted = reconnects, time.monotonic()

    async def _compare(self) -> None:
        for stream in self.lineage.streams:
            ask = partial(self.client.request, f"$JS.API.STREAM.INFO.{stream}", b"")
            info = json.loads((await self.patiently(ask)).data)
            if "created" not in info:  # not recovered or not created again yet
                raise nats.errors.ConnectionReconnectingError
            self.lineage.check(stream, info)

    @property
    def is_checked(self) -> bool:
        """Whether the last successful check was on this connection."""
        is_same = self.client.is_connected and self.client.stats["reconnects"] == self._checked
        return not self.lineage.is_held or (is_same and not self.lineage.is_broken)

    async def check_history(self) -> None:
        """For readers: raises StoreChanged if the history they have read is no longer true.

        Before we reconnect, an older copy may take as many messages as it had lost. Then a stage that saw those
        notices it, and the inbox says so a moment later.
        """
        with contextlib.suppress(nats.errors.Error):
            await self.check_store()
            now = time.monotonic()
            if self.lineage.is_held and self._checked and _RECHECK < now - self._doubted < _DOUBT:
                await self._compare()

    async def watch_store(self) -> None:
        """Until cancelled, or until it raises StoreChanged."""
        while True:
            with contextlib.suppress(nats.errors.Error):
                await self.check_store()
            await asyncio.sleep(1)
