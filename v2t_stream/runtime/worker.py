"""The wrapper around every stage: pulls messages into free slots, and lets current work finish at the end."""

import asyncio
import contextlib
import logging
import time
from typing import Final

from nats.aio.msg import Msg

from schemas.events import Cancelled, Rerun
from schemas.message import Message
from v2t_stream.broker.puller import Puller
from v2t_stream.errors import BrokerError, Denied, Moot
from v2t_stream.logs import about
from v2t_stream.runtime.delivery import Delivery, Desk
from v2t_stream.runtime.in_hand import InHand
from v2t_stream.runtime.inbox import Inbox
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.processing import Processing
from v2t_stream.runtime.stage import Resources, Stage
from v2t_stream.runtime.tries import Ledger
from v2t_stream.topology.applied import is_applied
from v2t_stream.topology.stages import Consumer
from v2t_stream.topology.streams import INBOX

log = logging.getLogger(__name__)

_TOGETHER: Final = 256  # most messages in one request
_POLL: Final = 1.0  # seconds to wait on the last consumer before asking the others again
_WAIT: Final = 30.0  # seconds to wait if there is only one
DEFAULT: Final = Patience()


class Worker:
    """Runs one stage until asked to stop."""

    def __init__(self, stage: Stage, resources: Resources, patience: Patience = DEFAULT) -> None:
        self._row = stage.row
        self._stage = stage
        self._resources = resources
        self._patience = patience
        self._connection = resources.connection
        self._presence = resources.presence
        self._in_hand = InHand(stage.row.slots, resources.presence, patience)
        self._processing = Processing(stage, resources.connection, self._in_hand, patience)
        self._asked: dict[Puller, float] = {}  # when each consumer that we only poll was last asked

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish current work, or give it back after a while.

        Raises Hung if some work does not stop because it waits for a thread that never returns; only ending the
        process ends that.
        """
        desk = await self._desk()
        for end in (Cancelled.subject_of(job="*"), Rerun.subject_of(job="*", run="*")):
            # Every worker gets it as soon as it is published.
            await self._connection.client.subscribe(end, cb=self._in_hand.end_older)
        pulling = asyncio.create_task(self._pull(desk))
        stopping = [asyncio.create_task(event.wait()) for event in (stop, self._in_hand.hung)]
        try:
            await asyncio.wait({pulling, *stopping}, return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                pulling.result()  # it only ends with an error, which ends this worker too
        finally:
            for waiting in stopping:
                waiting.cancel()
            pulling.cancel()
            await asyncio.wait({pulling})
            self._processing.hurry()
            await self._in_hand.drain()
            await self._stage.close()
            self._in_hand.check_ended()

    async def _desk(self) -> Desk:
        """Raises BrokerError."""
        inbox = None
        if self._row.stream == INBOX:
            inbox = Inbox(self._connection, self._resources.settings.home)
            await inbox.read_epoch()
        return Desk(
            row=self._row,
            resources=self._resources,
            processing=self._processing,
            in_hand=self._in_hand,
            ledger=Ledger(self._connection, self._row.name, self._resources.settings.node),
            inbox=inbox,
            ack_wait=min([await self._ack_wait_of(consumer) for consumer in self._row.consumers]),
            patience=self._patience,
        )

    async def _ack_wait_of(self, consumer: Consumer) -> float:
        """The consumer's own value, which may differ from ours."""
        info = await self._connection.api(f"CONSUMER.INFO.{self._row.stream}.{consumer.durable}")
        return float(info["config"]["ack_wait"]) / 1e9

    async def _pull(self, desk: Desk) -> None:
        client, row = self._connection.client, self._row
        async with contextlib.AsyncExitStack() as stack:
            pullers = [
                await stack.enter_async_context(Puller(client, row.stream, consumer.durable, group=consumer.group))
                for consumer in row.consumers
            ]
            self._presence.queues = tuple(consumer.durable for consumer in row.consumers)
            while True:
                await self._in_hand.take_slot()
                puller, message = await self._next(pullers)
                self._begin(message, desk)
                await self._take_more(puller, desk)

    def _begin(self, message: Msg, desk: Desk) -> None:
        self._in_hand.begin(message.subject, Delivery(message, desk).complete())

    async def _take_more(self, puller: Puller, desk: Desk) -> None:
        """If one message waited there may be more: fill the free slots with one request."""
        free = await self._in_hand.take_free_slots(_TOGETHER)
        try:
            async with contextlib.aclosing(puller.waiting(free)) as messages:
                async for message in messages:
                    free -= 1
                    self._begin(message, desk)
        except BrokerError as error:
            log.debug("%s", error)  # the next pull will report it
        finally:
            self._in_hand.give_slots_back(free)

    async def _next(self, pullers: list[Puller]) -> tuple[Puller, Msg]:
        *asked, awaited = pullers
        while not self._connection.client.is_closed:
            try:
                awaited.rank = self._presence.rank
                for puller in asked:
                    if self._asks_now(puller) and (message := await puller.next(0)):
                        self._asked.pop(puller)  # there may be more
                        return puller, message
                if message := await awaited.next(_POLL if asked else _WAIT):
                    return awaited, message
            except Denied:
                raise
            except BrokerError as error:
                if await self._is_gone():
                    raise  # the restart will set everything up again
                log.warning("%s", error)
                await asyncio.sleep(1)
        raise BrokerError(f"the NATS server at {self._connection.url} closed the connection for good")

    def _asks_now(self, puller: Puller) -> bool:
        """Whether it is a while since this one was empty: asking before every message would halve the rate."""
        now = time.monotonic()
        if now - self._asked.get(puller, 0.0) < _POLL / 4:
            return False
        self._asked[puller] = now
        return True

    async def _is_gone(self) -> bool:
        """Whether the server has lost our consumers; a server that does not answer may still have them."""
        try:
            return not await is_applied(self._connection, self._row.name)
        except BrokerError:
            return False

    async def do_again(self, subject: str, work: Message) -> bool:
        """Redo what another worker is doing, without its message: the first of the two results counts.

        False if there is a result already. A failure here does no harm, because the other worker still has the message.
        """
        if await self._processing.is_settled(work):
            return False
        await self._in_hand.take_slot()
        log.info("redoing what takes too long elsewhere: %s", subject)
        with contextlib.suppress(asyncio.CancelledError):  # its job was cancelled, not we
            await self._in_hand.begin(subject, self._process_quietly(work))
        return True

    async def _process_quietly(self, work: Message) -> None:
        about(work.job, getattr(work, "n", None))
        try:
            with contextlib.suppress(Moot), self._processing.outbox() as outbox:  # Moot: the other was faster after all
                await self._processing.run(work, outbox)
                await outbox.drain()
            self._presence.tally.outcomes["helped"] += 1
        except Exception as error:  # noqa: BLE001  # see do_again
            log.warning("could not redo it either: %s", error)
