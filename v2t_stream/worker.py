"""The one wrapper around every stage: pull, decode, process, publish, ack."""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.msg import Msg

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, ChunkDone, DeadLetter, Failed, Progress
from schemas.message import Message
from v2t_stream.errors import BrokerError, Denied, Hung, Reject, Retry, StoreAway, StoreChanged, V2TError
from v2t_stream.logs import about
from v2t_stream.puller import Puller
from v2t_stream.settled import Settled
from v2t_stream.stage import Resources, Stage, Submission
from v2t_stream.tally import Outcome
from v2t_stream.text import one_line
from v2t_stream.topology import (
    INBOX,
    INBOX_SUBJECTS,
    Consumer,
    decode,
    inbox_epoch,
    is_applied,
    job_id,
    job_of,
)
from v2t_stream.traces import span, take

log = logging.getLogger(__name__)

_BACKOFF: Final = (1.0, 5.0, 15.0, 60.0)  # seconds until the next try, by tries so far
# Deliveries of a message after which it is given up though no try of it failed. Who restarts, is killed or loses the
# broker with it in hand is seldom harmed by it, so these are not its tries; but it may be what kills.
_DELIVERIES: Final = 12
_DRAIN: Final = 20.0  # seconds that work in hand may take after a stop was asked for
_LEAVE: Final = 2.0  # seconds in which work that is cancelled must end
_HUNG: Final = 60.0  # and work that took too long, whose thread may be in the middle of something
_REASON: Final = 2000  # characters of a reason, which may quote what a stranger sent
_AWAY_PAUSES: Final = (1.0, 2.0, 5.0)  # seconds between two tries while the object store is away; the last ones alike
_AWAY: Final = 600.0  # seconds that work waits for it here, before another node may try
_POLL: Final = 1.0  # seconds to wait on the last consumer before the others are asked again
_WAIT: Final = 30.0  # seconds to wait where there is only one


class Worker:
    """Runs one stage until it is told to stop."""

    def __init__(self, stage: Stage, resources: Resources) -> None:
        self._row = stage.row
        self._stage = stage
        self._resources = resources
        self._connection = resources.connection
        self._settled = Settled(resources.connection)
        self._slots = asyncio.Semaphore(stage.row.slots)
        self._epoch = ""
        self._ack_wait = stage.row.ack_wait
        self._asked: dict[Puller, float] = {}  # when each of those that are only asked was asked last
        self._presence = resources.presence
        self._presence.slots = stage.row.slots
        self._tasks: dict[asyncio.Task[None], str] = {}  # with the subject of what each does
        self._moot: set[asyncio.Task[None]] = set()  # cancelled because nobody needs their result any more
        self._hung = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is in hand, or give it back after 20 s.

        Raises Hung where some of it does not end, as it waits for a thread that never comes back; only the end of
        the process ends that.
        """
        self._epoch = await inbox_epoch(self._connection)
        self._ack_wait = min([await self._ack_wait_of(consumer) for consumer in self._row.consumers])
        await self._connection.client.subscribe(Cancelled.SUBJECT.format(job="*"), cb=self._on_cancelled)
        pulling = asyncio.create_task(self._pull())
        stopping = [asyncio.create_task(event.wait()) for event in (stop, self._hung)]
        try:
            await asyncio.wait({pulling, *stopping}, return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                pulling.result()  # it never ends but by an error, which ends this worker too
        finally:
            for waiting in stopping:
                waiting.cancel()
            pulling.cancel()
            await asyncio.wait({pulling})
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_DRAIN)
            if in_hand := set(self._tasks):
                for task in in_hand:
                    if not task.cancelling():  # a second time would tear away what its thread still uses
                        task.cancel()
                await asyncio.wait(in_hand, timeout=_LEAVE)
            await self._stage.close()
            if self._tasks:
                raise Hung(f"{', '.join(self._tasks.values())} does not end: the stage ends without it")

    async def _ack_wait_of(self, consumer: Consumer) -> float:
        """The consumer's own: a server that was set up otherwise is as right."""
        info = await self._connection.api(f"CONSUMER.INFO.{self._row.stream}.{consumer.durable}")
        return float(info["config"]["ack_wait"]) / 1e9

    async def _pull(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            pullers = [
                await stack.enter_async_context(
                    Puller(
                        self._connection.client,
                        self._row.stream,
                        consumer.durable,
                        group=consumer.group,
                    )
                )
                for consumer in self._row.consumers
            ]
            self._presence.queues = tuple(consumer.durable for consumer in self._row.consumers)
            while True:
                await self._slots.acquire()
                puller, message = await self._next(pullers)
                self._begin(message.subject, self._handle(message))
                await self._take_more(puller)

    async def _take_more(self, puller: Puller) -> None:
        """Where one message waited there may be others: as many as there are free slots, by one request."""
        free = 0
        while not self._slots.locked():
            await self._slots.acquire()
            free += 1
        messages: list[Msg] = []
        try:
            if free:
                messages = await puller.waiting(free)
        except BrokerError as error:
            log.debug("%s", error)  # the next pull tells
        for _ in range(free - len(messages)):
            self._slots.release()
        for message in messages:
            self._begin(message.subject, self._handle(message))

    def _begin(self, subject: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work in a slot that is taken; the slot is free again when it ends."""
        task = asyncio.create_task(work)
        self._tasks[task] = subject
        self._presence.since[subject] = time.monotonic()

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task)
            self._moot.discard(task)
            self._presence.since.pop(subject, None)
            self._slots.release()

        task.add_done_callback(ended)
        return task

    async def do_again(self, subject: str, work: Message) -> bool:
        """Do what another worker has in hand, without its message: of two results the first stands.

        False where there is a result already. What goes wrong here is nobody's loss, as the other still has it.
        """
        if await self._is_settled(work):
            return False
        await self._slots.acquire()
        log.info("doing again what takes long elsewhere: %s", subject)
        with contextlib.suppress(asyncio.CancelledError):  # cancelled with its job, and not we with it
            await self._begin(subject, self._process_quietly(work))
        return True

    async def _process_quietly(self, work: Message) -> None:
        about(work.job, getattr(work, "n", None))
        try:
            await self._process(work)
            self._count("helped")
        except Exception as error:  # noqa: BLE001  # see do_again
            log.warning("could not do it either: %s", error)

    async def _on_cancelled(self, message: Msg) -> None:
        """Stop what is in hand for a job that was just cancelled: every worker hears of it as it is published."""
        job = job_of(message.subject)
        for task, subject in list(self._tasks.items()):
            if subject not in INBOX_SUBJECTS and job_of(subject) == job:
                self._end_as_moot(task)

    def _end_as_moot(self, task: "asyncio.Task[None] | None") -> None:
        if task:
            self._moot.add(task)
            task.cancel()

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
                    raise  # and with us started again, everything is set up anew
                log.warning("%s", error)
                await asyncio.sleep(1)
        raise BrokerError(f"the NATS server at {self._connection.url} ended the connection for good")

    def _asks_now(self, puller: Puller) -> bool:
        """Whether it is a while since this one was found empty: asking for every message would halve the rate."""
        now = time.monotonic()
        if now - self._asked.get(puller, 0.0) < _POLL / 4:
            return False
        self._asked[puller] = now
        return True

    async def _is_gone(self) -> bool:
        """Whether the server has lost our consumers; one that does not answer may still have them."""
        try:
            return not await is_applied(self._connection, self._row.name)
        except BrokerError:
            return False

    async def _handle(self, message: Msg) -> None:
        """Bring one message to its end; whatever happens, it is acked, given back or dead-lettered."""
        try:
            await self._settle(message)
        except asyncio.CancelledError:
            with contextlib.suppress(nats.errors.Error):
                if asyncio.current_task() in self._moot:
                    self._count("skipped")
                    await message.ack()
                else:
                    self._count("returned")
                    await message.nak()
            raise
        except (BrokerError, nats.errors.Error, TimeoutError) as error:
            # The broker is away. The message is not acked, so it comes again, and its results are idempotent;
            # the nak goes out when the broker is back, and spares it the rest of ack_wait.
            log.warning("left to be delivered again: %s (%s)", message.subject, error)
            self._count("returned")
            with contextlib.suppress(nats.errors.Error):
                if not isinstance(error, StoreChanged):
                    await message.nak(1)

    async def _settle(self, message: Msg) -> None:
        tries = message.metadata.num_delivered
        take(message.headers)
        work: Message | Submission | None = None
        try:
            work = self._decode(message)
            if work:
                about(work.job, getattr(work, "n", None))
            if work is None or await self._is_settled(work):
                await self._ack(message)
                self._count("skipped")
                return
            if tries > _DELIVERIES:
                reason = (
                    f"the stage {self._row.name} died with it or lost the broker, {_DELIVERIES} times: perhaps what it "
                    "holds is what kills; see the stage's log"
                )
                await self._give_up(message, work, reason)
                return
            await self._process_when_store_answers(message, work)
            await self._ack(message)
            self._count("done")
        except Reject as error:
            await self._give_up(message, work, str(error))
        except (BrokerError, nats.errors.Error):  # the broker went while its result was published or acked
            raise
        except Exception as error:  # a bug in a stage must end as a retry, not as a dead worker
            reason = str(error) if isinstance(error, V2TError) else f"{type(error).__name__}: {error}"
            if not isinstance(error, V2TError):
                log.exception("unexpected, from %s", message.subject)
            blameless = isinstance(error, V2TError) and error.BLAMELESS
            if tries >= (_DELIVERIES if blameless else self._row.tries):
                await self._give_up(message, work, f"{reason} (given up after {tries} tries)")
                return
            delay = error.delay if isinstance(error, Retry) and error.delay is not None else None
            if delay is None:
                delay = _BACKOFF[min(tries, len(_BACKOFF)) - 1]
            self._presence.last_error = reason
            log.warning("again in %g s, after delivery %d: %s", delay, tries, reason)
            self._count("retried")
            await message.nak(delay)

    async def _process_when_store_answers(self, message: Msg, work: Message | Submission) -> None:
        """An outage of the object store is nobody's failure: the work stays in hand, and no delivery is used up.

        After a while another node is given it, which may reach the store, but not where the message would be given up.
        """
        is_last = message.metadata.num_delivered >= min(self._row.tries, _DELIVERIES) - 1
        give_back = math.inf if is_last else time.monotonic() + _AWAY
        for pause in itertools.chain(_AWAY_PAUSES, itertools.repeat(_AWAY_PAUSES[-1])):
            async with self._kept_alive(message, work):
                try:
                    with span(self._row.name, **{"v2t.job": work.job, "messaging.destination.name": message.subject}):
                        await self._process(work)
                except StoreAway as error:
                    if time.monotonic() > give_back:
                        raise
                    self._presence.last_error = str(error)
                    log.warning("again in %g s, as the store is away: %s", pause, error)
                    await asyncio.sleep(pause)
                else:
                    return

    def _decode(self, message: Msg) -> Message | Submission | None:
        if self._row.stream == INBOX:
            return Submission(job_id(self._epoch, message.metadata.sequence.stream), message.subject, message.data)
        try:
            return decode(message.subject, message.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Reject(f"the message on {message.subject} cannot be read: {error}") from error

    async def _is_settled(self, work: Message | Submission) -> bool:
        """Whether the job ended, or this very result is there already from an earlier delivery."""
        fields = {"job": work.job, "n": getattr(work, "n", "")}
        facts: list[type[Message]] = [*self._row.results, Failed, Cancelled]
        return await self._settled.any_of([fact.SUBJECT.format_map(fields) for fact in facts])

    async def _process(self, work: Message | Submission) -> None:
        begun = time.monotonic()
        try:
            async with (
                asyncio.timeout(self._row.max_run) as limit,
                contextlib.aclosing(self._stage.process(work)) as results,
            ):
                async for result in results:
                    if isinstance(result, Progress):
                        await self._connection.tell(result)
                    else:
                        await self._connection.publish(result)
                        log.info("%s after %.1f s", result.subject, time.monotonic() - begun)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Retry(f"the stage {self._row.name} took longer than {self._row.max_run:g} s") from error

    async def _ack(self, message: Msg) -> None:
        """Ack, and do not wait to hear that it was heard.

        Should the server die with it, the message comes again after ack_wait, is found settled, and is acked again.
        """
        await self._connection.check_store()
        await message.ack()

    async def _give_up(self, message: Msg, work: Message | Submission | None, reason: str) -> None:
        """Dead letter first, then the fact, then the end of the message: a death in between repeats, loses nothing."""
        job = work.job if work else job_of(message.subject)
        reason = one_line(reason, _REASON)
        log.error("given up: %s: %s", message.subject, reason)
        self._presence.last_error = reason
        letter = DeadLetter(
            job=job,
            stage=self._row.name,
            reason=reason,
            original_subject=message.subject,
            data=message.data,
            deliveries=message.metadata.num_delivered,
            node=self._resources.settings.node,
        )
        async with self._kept_alive(message, None):
            sequence = message.metadata.sequence.stream
            await self._connection.publish(letter, dedupe=f"dead-{self._row.stream}-{sequence}")
            self._count("dead")
            await self._connection.publish(_consequence(self._row.name, job, work, reason))
            await self._connection.client.request(message.reply, b"+TERM " + reason.encode()[:200], timeout=5)

    def _count(self, outcome: Outcome) -> None:
        self._presence.tally.outcomes[outcome] += 1

    @contextlib.asynccontextmanager
    async def _kept_alive(self, message: Msg, work: Message | Submission | None) -> AsyncIterator[None]:
        """Tell the server that the work goes on, from the loop, so that a blocked loop loses the message.

        `work` that has become moot meanwhile, as its job was cancelled or its result came from elsewhere, is ended.
        """
        current = asyncio.current_task()

        async def beat() -> None:
            until = time.monotonic() + self._row.max_run
            while time.monotonic() < until:
                await asyncio.sleep(self._ack_wait / 3)
                with contextlib.suppress(nats.errors.Error, BrokerError):
                    await message.in_progress()
                    if work and await self._is_settled(work):
                        self._end_as_moot(current)
                        break
            await asyncio.sleep(_HUNG)
            self._hung.set()  # it was cancelled, by us or as its time was over

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()


def _consequence(stage: str, job: str, work: Message | Submission | None, reason: str) -> Message:
    """What a message that was given up means for its job: a chunk leaves a gap, anything else fails the job."""
    if isinstance(work, ChunkTask):
        return ChunkDone(job=job, n=work.n, start=work.start, end=work.end, error=reason)
    return Failed(job=job, stage=stage, reason=reason)
