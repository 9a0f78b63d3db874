"""One language for a whole job, whichever machines do its chunks."""

import asyncio
import logging
from typing import Final

import msgspec

from schemas.events import Language
from schemas.message import decode_as
from v2t_stream.broker.connection import Connection
from v2t_stream.topology.streams import JOBS

log = logging.getLogger(__name__)

SURE: Final = 0.5  # a detected language needs this probability to decide for the whole job
_PATIENCE: Final = 5  # seconds that a less certain chunk waits for others to decide
_REMEMBERED: Final = 1000  # jobs whose language is kept in memory


class Languages:
    """The decisions in the stream: the first `Language` fact of a job's run stands."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[str, int], str] = {}  # by job and run

    async def of(self, job: str, run: int) -> str | None:
        """The language decided for this run of the job, if any."""
        if (job, run) not in self._known:
            decided = await self._connection.last(JOBS, Language.subject_of(job=job, run=run))
            if decided is None:
                return None
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            try:
                self._known[job, run] = decode_as(Language, decided.data).language
            except msgspec.DecodeError as error:  # go on as if nothing had been decided
                log.warning("the language of job %s cannot be read: %s", job, error)
                return None
        return self._known[job, run]

    async def wait(self, job: str, run: int) -> None:
        """Give a more certain chunk a few seconds to decide."""
        for _ in range(_PATIENCE):
            if await self.of(job, run):
                return
            await asyncio.sleep(1)
