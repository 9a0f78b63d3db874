"""Runs a stage's code on a message, and publishes what it yields."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, Failed, Progress, Rerun
from schemas.message import Message
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Moot, Retry
from v2t_stream.runtime.in_hand import InHand
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.results import Settled
from v2t_stream.runtime.stage import Stage, Submission
from v2t_stream.runtime.turns import Outbox, Turns
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import ends

log = logging.getLogger(__name__)


class Processing:
    """The stage of one worker: runs it and stores its results."""

    def __init__(self, stage: Stage, connection: Connection, in_hand: InHand, patience: Patience) -> None:
        self._stage = stage
        self._row = stage.row
        self._connection = connection
        self._in_hand = in_hand
        self._settled = Settled(connection)
        self._turns = Turns(connection, patience.held)

    def hurry(self) -> None:
        """From now on, send everything at once."""
        self._turns.hurry()

    @contextlib.contextmanager
    def outbox(self) -> Iterator[Outbox]:
        """Sends what the stage yields at once, except chunks, which take turns with those of other jobs."""
        begun = time.monotonic()

        async def send(result: Message) -> bool:
            stands = await self._connection.publish(result)
            if stands:
                log.info("%s after %.1f s", result.subject, time.monotonic() - begun)
            return stands

        with self._turns.outbox(send) as outbox:
            yield outbox

    async def run(self, work: Message | Submission, outbox: Outbox, *, since: int | None = None) -> None:
        """Let the stage process `work`. `since`: as in `is_settled`.

        Store each result before resuming the stage (see Stage), which learns whether it counts. If it does not, because
        something else has ended this run, end the work too: raises Moot. Raises Retry if the stage takes too long.
        """
        watch = self._in_hand.watched(self._row.max_run)
        try:
            async with (
                asyncio.timeout(self._row.max_run) as limit,
                contextlib.aclosing(self._stage.process(work)) as results,
            ):
                stands: bool | None = None
                while True:
                    try:
                        result = await results.asend(stands)
                    except StopAsyncIteration:
                        return
                    stands = await self._store(result, outbox)
                    if not stands and result.job == work.job and await self.is_settled(work, since):
                        raise Moot(f"{result.subject} does not count, because its run has ended")
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Retry(f"the stage {self._row.name} took longer than {self._row.max_run:g} s") from error
        finally:
            watch.cancel()

    async def _store(self, result: Message, outbox: Outbox) -> bool:
        """Whether the result counts. Not known for progress, which is not stored, and not needed for chunks."""
        if isinstance(result, Progress):
            await self._connection.tell(result)
            return True
        return await outbox.put(result) or isinstance(result, ChunkTask)

    async def is_settled(self, work: Message | Submission, since: int | None = None) -> bool:
        """Whether its run has ended or a later one has begun, or an earlier delivery already stored this result.

        `since`: the sequence of its message. An older result does not count, because recovery asks for the work again
        when what followed from that result is lost.
        """
        job, run = work.job, 0 if isinstance(work, Submission) else work.run
        results = [fact.subject_of(job=job, run=run, n=getattr(work, "n", "")) for fact in self._row.results]
        moot = [
            Failed.subject_of(job=job, run=run),
            Cancelled.subject_of(job=job),
            Rerun.subject_of(job=job, run=run + 1),
        ]
        if not await self._settled.any_of([*results, *moot]):
            return False
        if since is None or self._row.stream != JOBS or await self._settled.any_of([*moot, *ends(job, run)]):
            return True
        latest = [await self._connection.last(JOBS, result) for result in results]
        return any(stored and stored.sequence > since for stored in latest)
