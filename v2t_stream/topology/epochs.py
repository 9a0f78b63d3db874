"""Notices that a broker was rolled back to an older copy of its streams, and gives new jobs a new series of ids.

A job's id comes from the number of its message in the inbox, and an older copy counts the same numbers again. Each
machine records in its data directory how far it has seen an inbox. If all of those were rolled back with the broker,
nobody notices.
"""

import contextlib
import logging
import math
import os
import time
from pathlib import Path
from typing import Final

from v2t_stream.broker.connection import Connection
from v2t_stream.broker.lineage import EPOCH_KEY, Mark
from v2t_stream.errors import BrokerError, Denied
from v2t_stream.topology.ids import base36, inbox_epoch
from v2t_stream.topology.streams import INBOX

log = logging.getLogger(__name__)

_RENEW: Final = "v2t topology apply --renew-ids"


class Seen:
    """The latest inbox message that this machine has seen, across restarts. `epoch`: see topology.inbox_epoch."""

    def __init__(self, home: Path, epoch: str) -> None:
        self._file = home / "inbox" / epoch
        self.newest = Mark()
        with contextlib.suppress(OSError, ValueError):
            number, _, at = self._file.read_text().partition(" ")
            self.newest = Mark(int(number), float(at) if at else math.inf)  # an older release wrote no time

    def see(self, seen: Mark) -> None:
        """Remember a message before its job is created. Blocks while it writes a few bytes."""
        if seen.sequence <= self.newest.sequence:
            return
        self.newest = seen
        part = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk must not stop the work
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(f"{seen.sequence} {seen.at}")
            part.replace(self._file)


async def renew_if_rolled_back(connection: Connection, home: Path) -> None:
    """Give new jobs a new series of ids if the inbox has lost messages that this machine saw.

    Raises BrokerError, and names who must do it if this user may not. If as many messages have come again by now, the
    first one that is taken reveals the loss: see Lineage.
    """
    last = (await connection.api(f"STREAM.INFO.{INBOX}"))["state"]["last_seq"]
    epoch = await inbox_epoch(connection)
    if last < Seen(home, epoch).newest.sequence:
        await renew_after_rollback(connection, epoch)


async def renew_after_rollback(connection: Connection, epoch: str) -> None:
    """Give new jobs ids outside the series `epoch`, unless somebody has already done so.

    Raises BrokerError, and names who must do it if this user may not.
    """
    if await inbox_epoch(connection) != epoch:
        return
    log.warning(
        "the broker at %s went back to an older copy of its streams: new jobs get a new series of ids", connection.url
    )
    try:
        await renew(connection)
    except Denied as error:
        raise BrokerError(
            f"the broker at {connection.url} went back to an older copy of its streams, so new jobs would get the ids "
            f"of old ones: ask an operator to run {_RENEW}"
        ) from error


async def renew(connection: Connection) -> None:
    """Give new jobs a series of ids that was never used before. Raises BrokerError."""
    later = int(await inbox_epoch(connection), 36) + 1  # even if our clock is behind
    config = (await connection.api(f"STREAM.INFO.{INBOX}"))["config"]
    config["metadata"] = {**(config.get("metadata") or {}), EPOCH_KEY: base36(max(later, int(time.time())))}
    await connection.api(f"STREAM.UPDATE.{INBOX}", config)
