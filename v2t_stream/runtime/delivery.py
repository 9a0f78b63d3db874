"""Handles one message to its end: whatever happens, it is acked, given back or dead-lettered."""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec
import nats.errors
from nats.aio.msg import Msg

from schemas.chunks import ChunkTask
from schemas.events import ChunkDone, DeadLetter, Failed, Tries
from schemas.message import Message
from v2t_stream.broker.lineage import Mark
from v2t_stream.errors import BrokerError, Foreign, Moot, Reject, StoreAway, StoreChanged, V2TError
from v2t_stream.fleet.presence import fleet, version
from v2t_stream.fleet.tally import Outcome
from v2t_stream.jobs.links import keep_submission
from v2t_stream.logs import about
from v2t_stream.runtime.in_hand import InHand
from v2t_stream.runtime.inbox import Inbox
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.processing import Processing
from v2t_stream.runtime.stage import Resources, Submission
from v2t_stream.runtime.tries import DEATHS, Ledger
from v2t_stream.runtime.turns import Outbox
from v2t_stream.runtime.verdict import GivenUp, verdict
from v2t_stream.text import one_line, without_secrets
from v2t_stream.topology.stages import StageRow
from v2t_stream.topology.subjects import decode, job_of, run_of
from v2t_stream.traces import span, take

log = logging.getLogger(__name__)

_REASON: Final = 2000  # characters of a reason, which may quote what a stranger sent


@dataclass(frozen=True)
class Desk:
    """What all deliveries of one worker share."""

    row: StageRow
    resources: Resources
    processing: Processing
    in_hand: InHand
    ledger: Ledger
    inbox: Inbox | None  # only for the stage whose input is not our own messages
    ack_wait: float  # seconds, as set in the broker
    patience: Patience


class Delivery:
    """One delivery of one message."""

    def __init__(self, message: Msg, desk: Desk) -> None:
        self._message = message
        self._desk = desk
        self._connection = desk.resources.connection
        self._work: Message | Submission | None = None  # None: it was not decoded

    async def complete(self) -> None:
        """Raises only CancelledError, after it has given the message back."""
        life = self._connection.client.stats["reconnects"]
        try:
            await self._settle()
        except asyncio.CancelledError:
            with contextlib.suppress(nats.errors.Error, BrokerError):
                if self._desk.in_hand.is_moot():
                    await self._skip()
                else:
                    self._count("returned")
                    await self._message.nak()
            raise
        except (BrokerError, nats.errors.Error, TimeoutError) as error:
            # The broker is away. The message is not acked, so it comes again, and its results are idempotent;
            # the nak goes out when the broker is back, so it does not wait for the rest of ack_wait.
            log.warning("not acked, so it will be delivered again: %s (%s)", self._message.subject, error)
            self._count("returned")
            with contextlib.suppress(nats.errors.Error):
                if not isinstance(error, StoreChanged):
                    await self._message.nak(1)
                elif life == self._connection.client.stats["reconnects"]:  # the message belongs to the current streams
                    await self._message.nak(self._desk.patience.restart)

    async def _settle(self) -> None:
        take(self._message.headers)
        await self._see()
        is_here = self._desk.in_hand.count(self._message.subject) > 1
        tries = await self._desk.ledger.of(self._message, self._job, is_here=is_here)
        try:
            await self._work_on(tries)
        except Foreign as error:
            await self._leave(tries, error)
        except Moot as error:
            log.info("no longer needed: %s", error)
            await self._skip()
        except asyncio.CancelledError:
            if not self._desk.in_hand.is_moot():
                await self._desk.ledger.leave(tries)
            raise
        except (BrokerError, nats.errors.Error):  # lost the broker while publishing or acking
            await self._desk.ledger.leave(tries)
            raise
        except Exception as error:  # noqa: BLE001  # a bug in a stage must end as a retry, not as a dead worker
            await self._fail(tries, error)

    async def _see(self) -> None:
        if self._desk.inbox:
            await self._desk.inbox.see(self._message)
        else:
            self._connection.lineage.saw(self._desk.row.stream, Mark.of(self._message))

    async def _work_on(self, tries: Tries) -> None:
        work = self._work = self._decoded()
        about(work.job, getattr(work, "n", None))
        if self._desk.inbox:
            await self._desk.inbox.tell_sender(self._message, self._desk.row.name, work.job)
        if await self._is_settled(work):
            await self._skip()
            return
        if tries.deaths >= DEATHS:
            raise Reject(
                f"the stage {self._desk.row.name} crashed {DEATHS} times while it worked on this message, which may be "
                "the cause: see the log of the stage"
            )
        await self._do(work, tries)
        await self._ack()
        self._count("done")

    def _decoded(self) -> Message | Submission:
        """Raises Reject for what nobody can read, Foreign for what another release may be able to read."""
        subject, data = self._message.subject, self._message.data
        if self._desk.inbox:
            return Submission(self._job, subject, data)
        try:
            work = decode(subject, data)
        except msgspec.DecodeError as error:
            kind = Foreign if isinstance(error, msgspec.ValidationError) else Reject
            raise kind(f"the message on {subject} cannot be read: {error}") from error
        if work is None:
            raise Foreign(f"the message on {subject} cannot be read: its kind is unknown")
        return work

    @property
    def _job(self) -> str:
        return self._desk.inbox.job_of(self._message) if self._desk.inbox else job_of(self._message.subject)

    async def _is_settled(self, work: Message | Submission) -> bool:
        return await self._desk.processing.is_settled(work, self._message.metadata.sequence.stream)

    async def _do(self, work: Message | Submission, tries: Tries) -> None:
        """Do the work. An outage of the object store does not count as a failure: keep the work and wait.

        After a while another node gets it, which may reach the store, unless that would give the message up.
        """
        patience = self._desk.patience
        is_last = tries.waits >= patience.waits - 1
        give_back = math.inf if is_last else time.monotonic() + patience.store_away
        async with self._kept_alive(work):
            for pause in itertools.chain(patience.store_pauses, itertools.repeat(patience.store_pauses[-1])):
                try:
                    await self._try(work, tries)
                except StoreAway as error:
                    if time.monotonic() > give_back:
                        raise
                    self._desk.resources.presence.last_error = str(error)
                    log.warning("trying again in %g s, because the store is away: %s", pause, error)
                    await asyncio.sleep(pause)
                else:
                    return

    async def _try(self, work: Message | Submission, tries: Tries) -> None:
        message, processing = self._message, self._desk.processing
        with processing.outbox() as outbox:
            async with self._desk.ledger.begun(message, tries):
                with span(self._desk.row.name, **{"v2t.job": work.job, "messaging.destination.name": message.subject}):
                    await processing.run(work, outbox, since=message.metadata.sequence.stream)
            if outbox.held:
                await self._send_in_turn(outbox, tries)

    async def _send_in_turn(self, outbox: Outbox, tries: Tries) -> None:
        """Send the chunks that wait for their turn, which may take hours. Meanwhile others use the slot."""
        self._desk.in_hand.only_send(self._message.subject)
        if self._message.metadata.num_delivered > 1:
            await self._desk.ledger.note(tries)  # a crash from here on has another cause
        await outbox.drain()

    @contextlib.asynccontextmanager
    async def _kept_alive(self, work: Message | Submission | None) -> AsyncIterator[None]:
        """Tell the server that the work goes on, from the event loop, so that a blocked loop loses the message.

        End `work` that has become moot, because its job was cancelled or its result came from elsewhere.
        """
        current = asyncio.current_task()

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._desk.ack_wait / 3)
                with contextlib.suppress(nats.errors.Error, BrokerError):
                    await self._message.in_progress()
                    if work and await self._is_settled(work):
                        self._desk.in_hand.end_as_moot(current)
                        return

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()

    async def _fail(self, tries: Tries, error: Exception) -> None:
        """Retry the message after `error`, or give it up."""
        if not isinstance(error, V2TError):
            log.error("unexpected, from %s", self._message.subject, exc_info=error)
        found = verdict(error, tries, self._desk.row, self._desk.patience)
        if isinstance(found, GivenUp):
            await self._give_up(found.reason)
            return
        self._desk.resources.presence.last_error = without_secrets(found.reason)
        log.warning("trying again in %g s, after try %d: %s", found.delay, found.tried, found.reason)
        self._count("retried")
        await self._give_back(found.tries, found.delay)

    async def _leave(self, tries: Tries, error: Foreign) -> None:
        """Give back what this release cannot read, for a node of another release; give it up if none is alive."""
        row = self._desk.row
        stage = [info for info in await fleet(self._connection) if info.stage == row.name and info.is_alive]
        if self._message.metadata.num_delivered >= row.tries and all(info.version == version() for info in stage):
            await self._give_up(f"{error}, by any node that is alive: if a newer release sent it, update")
            return
        log.warning("left for a node of another release: %s", error)
        self._count("returned")
        await self._give_back(tries, self._desk.patience.foreign)

    async def _give_back(self, tries: Tries, delay: float) -> None:
        await self._desk.ledger.note(tries, delay)
        await self._message.nak(delay)

    async def _skip(self) -> None:
        self._count("skipped")
        await self._ack()

    async def _ack(self) -> None:
        """Ack without waiting for an answer.

        If the server dies and loses the ack, the message comes again after ack_wait, is found settled, and acked again.
        """
        await self._connection.check_store()
        await self._message.ack()

    async def _give_up(self, reason: str) -> None:
        """Dead letter first, then the fact, then the ack: a crash in between repeats steps but loses nothing."""
        message, row, work = self._message, self._desk.row, self._work
        reason = one_line(without_secrets(reason), _REASON)
        log.error("given up: %s: %s", message.subject, reason)
        self._desk.resources.presence.last_error = reason
        data, kept = message.data, ""
        if isinstance(work, Submission):
            data, kept = await keep_submission(self._desk.resources.store, work.job, data)
        letter = DeadLetter(
            job=self._job,
            stage=row.name,
            reason=reason,
            original_subject=message.subject,
            data=data if len(data) < self._connection.client.max_payload // 2 else b"",  # in base 64
            kept=kept,
            deliveries=message.metadata.num_delivered,
            node=self._desk.resources.settings.node,
        )
        async with self._kept_alive(None):
            # With its time, because after restoring an older copy another message gets the same number.
            mark = Mark.of(message)
            of = f"{row.stream}-{mark.sequence}-{mark.at}"
            await self._connection.publish(letter, dedupe=f"dead-{of}")
            self._count("dead")
            await self._connection.publish(_consequence(row.name, message.subject, work, reason))
            await self._connection.check_store()
            await self._connection.client.request(message.reply, b"+TERM " + reason.encode()[:200], timeout=5)

    def _count(self, outcome: Outcome) -> None:
        self._desk.resources.presence.tally.outcomes[outcome] += 1


def _consequence(stage: str, subject: str, work: Message | Submission | None, reason: str) -> Message:
    """What giving up a message means for its job: a chunk leaves a gap, anything else fails the job."""
    if isinstance(work, ChunkTask):
        return ChunkDone(job=work.job, run=work.run, n=work.n, start=work.start, end=work.end, error=reason)
    return Failed(job=work.job if work else job_of(subject), run=run_of(subject), stage=stage, reason=reason)
