"""Which inbox the intake reads from, and which messages it has seen.

Job ids come from message numbers. So we must notice that a broker has gone back to an older copy before a number that
was used before makes a second job with the same id.
"""

import asyncio
import re
from pathlib import Path
from typing import Final

from nats.aio.msg import Msg

from schemas.events import Failed
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.lineage import Mark
from v2t_stream.errors import StoreChanged
from v2t_stream.runtime.shared_call import SharedCall
from v2t_stream.topology.epochs import Seen, renew_after_rollback
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.streams import EPOCH_HEADER, INBOX

_EPOCH: Final = re.compile("[0-9a-z]{1,13}")  # base 36


class Inbox:
    """The inbox of the broker that a worker is connected to."""

    def __init__(self, connection: Connection, home: Path) -> None:
        self._connection = connection
        self._home = home
        self._epoch = ""
        self._newest = Mark()  # the newest message to remember
        self._remember = SharedCall(self._note_newest)
        self._renewing = asyncio.Lock()

    async def read_epoch(self) -> None:
        """Raises BrokerError."""
        epoch = await inbox_epoch(self._connection)
        if epoch != self._epoch:
            self._epoch, self._seen = epoch, Seen(self._home, epoch)
            self._connection.lineage.recall(INBOX, self._seen.newest)

    async def see(self, message: Msg) -> None:
        """Remember a message before its job is made. Raises BrokerError, in particular StoreChanged."""
        seen = Mark.of(message)
        try:
            self._connection.lineage.saw(INBOX, seen)
        except StoreChanged:
            async with self._renewing:  # because several messages arrive at once
                await renew_after_rollback(self._connection, self._epoch)
            raise
        self._newest = max(self._newest, seen)
        await self._remember()

    async def _note_newest(self) -> None:
        newest, self._newest = self._newest, Mark()
        await self.read_epoch()  # it may just have been renewed
        await asyncio.to_thread(self._seen.see, newest)  # renaming a file takes long on a busy disk

    def job_of(self, message: Msg) -> str:
        """The id of the job that a message makes."""
        return job_id(self._epoch, message.metadata.sequence.stream)

    async def tell_sender(self, message: Msg, stage: str, job: str) -> None:
        """If the sender knows the submission by an id from before a rollback, record there which job it is now."""
        known = (message.headers or {}).get(EPOCH_HEADER, self._epoch)
        if known == self._epoch or not _EPOCH.fullmatch(known):
            return
        reason = f"the broker had gone back to an older copy of its streams when this was sent: now it is job {job}"
        id_ = job_id(known, message.metadata.sequence.stream)
        await self._connection.publish(Failed(job=id_, stage=stage, reason=reason, moved=job))
