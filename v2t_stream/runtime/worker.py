"""The one wrapper around every stage: pull, decode, process, publish, ack."""

import asyncio
import contextlib
import itertools
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final

import msgspec
import nats.errors
from msgspec.structs import replace
from nats.aio.msg import Msg

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, ChunkDone, DeadLetter, Failed, Progress, Rerun, Tries
from schemas.message import Message
from v2t_stream.broker.lineage import Mark
from v2t_stream.broker.puller import Puller
from v2t_stream.errors import BrokerError, Denied, Foreign, Hung, Reject, Retry, StoreAway, StoreChanged, V2TError
from v2t_stream.fleet.presence import fleet, version
from v2t_stream.fleet.tally import Outcome
from v2t_stream.jobs.links import keep_submission
from v2t_stream.logs import about
from v2t_stream.runtime.results import Settled
from v2t_stream.runtime.shared_call import SharedCall
from v2t_stream.runtime.stage import Resources, Stage, Submission
from v2t_stream.runtime.tries import DEATHS, Ledger
from v2t_stream.runtime.turns import Outbox, Turns
from v2t_stream.text import one_line, without_secrets
from v2t_stream.topology.applied import is_applied
from v2t_stream.topology.epochs import Seen, renew_after_rollback
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.stages import Consumer
from v2t_stream.topology.streams import EPOCH_HEADER, INBOX, JOBS
from v2t_stream.topology.subjects import INBOX_SUBJECTS, decode, ends, job_of, run_of
from v2t_stream.traces import span, take

log = logging.getLogger(__name__)

_BACKOFF: Final = (1.0, 5.0, 15.0, 60.0)  # seconds until the next try, by tries so far
_WAITS: Final = 12  # times that a message may find what it needs away or taken, which is no failure of it
_DRAIN: Final = 20.0  # seconds that work in hand may take after a stop was asked for
_LEAVE: Final = 2.0  # seconds in which work that is cancelled must end
_HUNG: Final = 60.0  # and work that took too long, whose thread may be in the middle of something
_REASON: Final = 2000  # characters of a reason, which may quote what a stranger sent
_AWAY_PAUSES: Final = (1.0, 2.0, 5.0)  # seconds between two tries while the object store is away; the last ones alike
_AWAY: Final = 600.0  # seconds that work waits for it here, before another node may try
_TOGETHER: Final = 256  # messages asked for by one request at most
_POLL: Final = 1.0  # seconds to wait on the last consumer before the others are asked again
_WAIT: Final = 30.0  # seconds to wait where there is only one
_RESTART: Final = 3.0  # seconds that a process of ours needs to end and to be there again
_EPOCH: Final = re.compile("[0-9a-z]{1,13}")  # as base36 makes them
_FOREIGN: Final = 10.0  # seconds that what another release may read is left to its nodes


class Worker:
    """Runs one stage until it is told to stop."""

    def __init__(self, stage: Stage, resources: Resources) -> None:
        self._row = stage.row
        self._stage = stage
        self._resources = resources
        self._connection = resources.connection
        self._settled = Settled(resources.connection)
        self._ledger = Ledger(resources.connection, stage.row.name, resources.settings.node)
        self._turns = Turns(resources.connection)
        self._slots = asyncio.Semaphore(stage.row.slots)
        self._epoch = ""
        self._newest = Mark()  # of the inbox's messages that are to be remembered
        self._remember = SharedCall(self._note_newest)
        self._renewing = asyncio.Lock()
        self._ack_wait = stage.row.ack_wait
        self._asked: dict[Puller, float] = {}  # when each of those that are only asked was asked last
        self._presence = resources.presence
        self._presence.slots = stage.row.slots
        self._tasks: dict[asyncio.Task[None], str] = {}  # with the subject of what each does
        self._moot: set[asyncio.Task[None]] = set()  # cancelled because nobody needs their result any more
        self._sending: set[asyncio.Task[None]] = set()  # have gone from their slots, and only wait until all is sent
        self._hung = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is in hand, or give it back after 20 s.

        Raises Hung where some of it does not end, as it waits for a thread that never comes back; only the end of
        the process ends that.
        """
        await self._read_epoch()
        self._ack_wait = min([await self._ack_wait_of(consumer) for consumer in self._row.consumers])
        for end in (Cancelled.subject_of(job="*"), Rerun.subject_of(job="*", run="*")):
            await self._connection.client.subscribe(end, cb=self._on_moot)
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
            self._turns.hurry()
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

    async def _read_epoch(self) -> None:
        epoch = await inbox_epoch(self._connection)
        if epoch != self._epoch:
            self._epoch, self._seen = epoch, Seen(self._resources.settings.home, epoch)
            if self._row.stream == INBOX:
                self._connection.lineage.recall(INBOX, self._seen.newest)

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
        """Where one message waited there may be others: as many as there are free slots for, by one request."""
        free = 0
        while free < _TOGETHER and not self._slots.locked():
            await self._slots.acquire()
            free += 1
        try:
            async with contextlib.aclosing(puller.waiting(free)) as messages:
                async for message in messages:
                    free -= 1
                    self._begin(message.subject, self._handle(message))
        except BrokerError as error:
            log.debug("%s", error)  # the next pull tells
        finally:
            for _ in range(free):
                self._slots.release()

    def _begin(self, subject: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work in a slot that is taken; the slot is free again when it ends, or only waits to be sent."""
        task = asyncio.create_task(work)
        self._tasks[task] = subject
        self._presence.since[subject] = time.monotonic()

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task)
            self._moot.discard(task)
            if task in self._sending:
                self._sending.discard(task)
                self._presence.sending.discard(subject)
            else:
                self._leave_slot(subject)

        task.add_done_callback(ended)
        return task

    def _leave_slot(self, subject: str) -> None:
        self._presence.since.pop(subject, None)
        self._slots.release()

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
            with self._outbox() as outbox:
                await self._process(work, outbox)
                await outbox.drain()
            self._count("helped")
        except Exception as error:  # noqa: BLE001  # see do_again
            log.warning("could not do it either: %s", error)

    async def _on_moot(self, message: Msg) -> None:
        """Stop what is in hand for a job that was just cancelled, or for the runs of it before the one that begins.

        Every worker hears of it as it is published.
        """
        job, run = job_of(message.subject), run_of(message.subject) or math.inf
        for task, subject in list(self._tasks.items()):
            if subject not in INBOX_SUBJECTS and job_of(subject) == job and run_of(subject) < run:
                self._end_as_moot(task)

    def _end_as_moot(self, task: "asyncio.Task[None] | None") -> None:
        if task:
            self._moot.add(task)
            task.cancel()
            watch = self._watched(0)
            task.add_done_callback(lambda _: watch.cancel())

    def _watched(self, seconds: float) -> asyncio.TimerHandle:
        """To be cancelled by work when it ends: what is still there a while after `seconds` hangs, and ends us."""
        return asyncio.get_running_loop().call_later(seconds + _HUNG, self._hung.set)

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
        life = self._connection.client.stats["reconnects"]
        try:
            await self._settle(message)
        except asyncio.CancelledError:
            with contextlib.suppress(nats.errors.Error, BrokerError):
                if asyncio.current_task() in self._moot:
                    self._count("skipped")
                    await self._ack(message)
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
                elif life == self._connection.client.stats["reconnects"]:  # it is of the streams of now
                    await message.nak(_RESTART)

    async def _settle(self, message: Msg) -> None:
        take(message.headers)
        await self._see(message)
        work: Message | Submission | None = None
        is_here = [*self._tasks.values()].count(message.subject) > 1
        tries = await self._ledger.of(message, self._job_of(message), is_here=is_here)
        try:
            work = self._decode(message)
            about(work.job, getattr(work, "n", None))
            await self._tell_sender(message, work.job)
            if await self._is_settled(work, message):
                await self._ack(message)
                self._count("skipped")
                return
            if tries.deaths >= DEATHS:
                reason = (
                    f"the stage {self._row.name} died with it {DEATHS} times: perhaps what it holds is what kills; "
                    "see the stage's log"
                )
                await self._give_up(message, work, reason)
                return
            await self._do(message, work, tries)
            await self._ack(message)
            self._count("done")
        except Foreign as error:
            await self._leave(message, tries, error)
        except Reject as error:
            await self._give_up(message, work, str(error))
        except asyncio.CancelledError:
            if asyncio.current_task() not in self._moot:
                await self._ledger.leave(tries)
            raise
        except (BrokerError, nats.errors.Error):  # the broker went while its result was published or acked
            await self._ledger.leave(tries)
            raise
        except Exception as error:  # noqa: BLE001  # a bug in a stage must end as a retry, not as a dead worker
            await self._fail(message, work, tries, error)

    async def _fail(self, message: Msg, work: Message | Submission | None, tries: Tries, error: Exception) -> None:
        """Have a message tried again after `error`, or give it up where that was the last try."""
        reason = str(error) if isinstance(error, V2TError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, V2TError):
            log.error("unexpected, from %s", message.subject, exc_info=error)
        if isinstance(error, V2TError) and error.BLAMELESS:
            count, most = tries.waits + 1, _WAITS
            tries = replace(tries, waits=count)
        else:
            count, most = tries.failures + 1, self._row.tries
            tries = replace(tries, failures=count)
        if count >= most:
            await self._give_up(message, work, f"{reason} (given up after {count} tries)")
            return
        delay = error.delay if isinstance(error, Retry) and error.delay is not None else None
        if delay is None:
            delay = _BACKOFF[min(count, len(_BACKOFF)) - 1]
        self._presence.last_error = without_secrets(reason)
        log.warning("again in %g s, after try %d: %s", delay, count, reason)
        self._count("retried")
        await self._ledger.note(tries, delay)
        await message.nak(delay)

    async def _do(self, message: Msg, work: Message | Submission, tries: Tries) -> None:
        """An outage of the object store is nobody's failure: the work stays in hand, and no try is used up.

        After a while another node is given it, which may reach the store, but not where the message would be given up.
        """
        give_back = math.inf if tries.waits >= _WAITS - 1 else time.monotonic() + _AWAY
        async with self._kept_alive(message, work):
            for pause in itertools.chain(_AWAY_PAUSES, itertools.repeat(_AWAY_PAUSES[-1])):
                try:
                    await self._try(message, work, tries)
                except StoreAway as error:
                    if time.monotonic() > give_back:
                        raise
                    self._presence.last_error = str(error)
                    log.warning("again in %g s, as the store is away: %s", pause, error)
                    await asyncio.sleep(pause)
                else:
                    return

    async def _try(self, message: Msg, work: Message | Submission, tries: Tries) -> None:
        with self._outbox() as outbox:
            async with self._ledger.begun(message, tries):
                with span(self._row.name, **{"v2t.job": work.job, "messaging.destination.name": message.subject}):
                    await self._process(work, outbox)
            if outbox.held:
                await self._send_in_turn(message, outbox, tries)

    async def _send_in_turn(self, message: Msg, outbox: Outbox, tries: Tries) -> None:
        """Send what waits for its turn, which may take hours, while others work in the slot."""
        if task := asyncio.current_task():
            self._sending.add(task)
            self._presence.sending.add(message.subject)
            self._leave_slot(message.subject)
        if message.metadata.num_delivered > 1:
            await self._ledger.note(tries)  # who dies from here on dies of something else
        await outbox.drain()

    @contextlib.contextmanager
    def _outbox(self) -> Iterator[Outbox]:
        begun = time.monotonic()

        async def send(result: Message) -> None:
            await self._connection.publish(result)
            log.info("%s after %.1f s", result.subject, time.monotonic() - begun)

        with self._turns.outbox(send) as outbox:
            yield outbox

    def _job_of(self, message: Msg) -> str:
        if self._row.stream == INBOX:
            return job_id(self._epoch, message.metadata.sequence.stream)
        return job_of(message.subject)

    async def _leave(self, message: Msg, tries: Tries, error: Foreign) -> None:
        """Give back what this release cannot read, for a node of another; where none is alive, give it up in time."""
        stage = [info for info in await fleet(self._connection) if info.stage == self._row.name and info.is_alive]
        if message.metadata.num_delivered >= self._row.tries and all(info.version == version() for info in stage):
            await self._give_up(message, None, f"{error}, by no node that is alive: if a newer release sent it, update")
            return
        log.warning("left for a node of another release: %s", error)
        self._count("returned")
        await self._ledger.note(tries, _FOREIGN)
        await message.nak(_FOREIGN)

    async def _see(self, message: Msg) -> None:
        """Remember that a message was there, before its job is made. Raises BrokerError."""
        seen = Mark(message.metadata.sequence.stream, message.metadata.timestamp.timestamp())
        try:
            self._connection.lineage.saw(self._row.stream, seen)
        except StoreChanged:
            if self._row.stream == INBOX:
                async with self._renewing:  # as messages come together
                    await renew_after_rollback(self._connection, self._epoch)
            raise
        if self._row.stream == INBOX:
            self._newest = max(self._newest, seen)
            await self._remember()

    async def _note_newest(self) -> None:
        newest, self._newest = self._newest, Mark()
        await self._read_epoch()  # it may just have been renewed
        await asyncio.to_thread(self._seen.see, newest)  # a disk that others write to takes long to rename a file

    async def _tell_sender(self, message: Msg, job: str) -> None:
        """Where a sender knows his submission by an id of before a rollback, say there which job it is now."""
        known = (message.headers or {}).get(EPOCH_HEADER, self._epoch)
        if self._row.stream != INBOX or known == self._epoch or not _EPOCH.fullmatch(known):
            return
        reason = f"the broker had gone back to an older copy of its streams when it was sent: it is done as job {job}"
        id_ = job_id(known, message.metadata.sequence.stream)
        await self._connection.publish(Failed(job=id_, stage=self._row.name, reason=reason, moved=job))

    def _decode(self, message: Msg) -> Message | Submission:
        """Raises Reject for what nobody can read, Foreign for what another release may be able to."""
        if self._row.stream == INBOX:
            return Submission(self._job_of(message), message.subject, message.data)
        try:
            work = decode(message.subject, message.data)
        except msgspec.DecodeError as error:
            kind = Foreign if isinstance(error, msgspec.ValidationError) else Reject
            raise kind(f"the message on {message.subject} cannot be read: {error}") from error
        if work is None:
            raise Foreign(f"the message on {message.subject} cannot be read: it is of an unknown kind")
        return work

    async def _is_settled(self, work: Message | Submission, message: Msg | None = None) -> bool:
        """Whether its run has ended or a later one was begun, or this very result is there from an earlier delivery.

        A result that is older than `message` is asked for once more, as what came of it was lost: see recovery.
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
        if message is None or self._row.stream != JOBS or await self._settled.any_of([*moot, *ends(job, run)]):
            return True
        since = message.metadata.sequence.stream
        latest = [await self._connection.last(JOBS, result) for result in results]
        return any(stored and stored.sequence > since for stored in latest)

    async def _process(self, work: Message | Submission, outbox: Outbox) -> None:
        watch = self._watched(self._row.max_run)
        try:
            async with (
                asyncio.timeout(self._row.max_run) as limit,
                contextlib.aclosing(self._stage.process(work)) as results,
            ):
                async for result in results:
                    if isinstance(result, Progress):
                        await self._connection.tell(result)
                    else:
                        await outbox.put(result)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Retry(f"the stage {self._row.name} took longer than {self._row.max_run:g} s") from error
        finally:
            watch.cancel()

    async def _ack(self, message: Msg) -> None:
        """Ack, and do not wait to hear that it was heard.

        Should the server die with it, the message comes again after ack_wait, is found settled, and is acked again.
        """
        await self._connection.check_store()
        await message.ack()

    async def _give_up(self, message: Msg, work: Message | Submission | None, reason: str) -> None:
        """Dead letter first, then the fact, then the end of the message: a death in between repeats, loses nothing."""
        job = self._job_of(message)
        reason = one_line(without_secrets(reason), _REASON)
        log.error("given up: %s: %s", message.subject, reason)
        self._presence.last_error = reason
        data, kept = message.data, ""
        if isinstance(work, Submission):
            data, kept = await keep_submission(self._resources.store, job, data)
        letter = DeadLetter(
            job=job,
            stage=self._row.name,
            reason=reason,
            original_subject=message.subject,
            data=data if len(data) < self._connection.client.max_payload // 2 else b"",  # in base 64
            kept=kept,
            deliveries=message.metadata.num_delivered,
            node=self._resources.settings.node,
        )
        async with self._kept_alive(message, None):
            # With its time: in an older copy that was put back another message gets the same number.
            of = f"{self._row.stream}-{message.metadata.sequence.stream}-{message.metadata.timestamp.timestamp()}"
            await self._connection.publish(letter, dedupe=f"dead-{of}")
            self._count("dead")
            await self._connection.publish(_consequence(self._row.name, message.subject, work, reason))
            await self._connection.check_store()
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
            while True:
                await asyncio.sleep(self._ack_wait / 3)
                with contextlib.suppress(nats.errors.Error, BrokerError):
                    await message.in_progress()
                    if work and await self._is_settled(work, message):
                        self._end_as_moot(current)
                        return

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()


def _consequence(stage: str, subject: str, work: Message | Submission | None, reason: str) -> Message:
    """What a message that was given up means for its job: a chunk leaves a gap, anything else fails the job."""
    if isinstance(work, ChunkTask):
        return ChunkDone(job=work.job, run=work.run, n=work.n, start=work.start, end=work.end, error=reason)
    return Failed(job=work.job if work else job_of(subject), run=run_of(subject), stage=stage, reason=reason)
