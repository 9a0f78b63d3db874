"""Takes the facts that end jobs, and tells receivers of them: at least once, for a day, with the same id.

A fact is acked when every receiver has taken its notice. Otherwise it goes back to the broker, which sends it again
after a while, to this server or to another: nothing is kept here, so a server may die at any moment.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from aiohttp import web
from nats.aio.msg import Msg

from schemas.events import Cancelled, Completed, DeadLetter, Failed
from schemas.hooks import Notify
from v2t_stream.broker.puller import GONE, Puller
from v2t_stream.errors import BrokerError, Denied, Reject, Retry, StoreAway, StoreError, V2TError
from v2t_stream.host import tasks
from v2t_stream.jobs import links
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold
from v2t_stream.runtime.session import Session
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.hooks.notice import End, Notice
from v2t_stream.serve.hooks.sending import Sender
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, without_secrets
from v2t_stream.topology.stages import NOTIFY
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import but_chunks, decode, job_of

log = logging.getLogger(__name__)

_DAY: Final = 86_400.0
# Seconds until the next try, by tries so far; then the last one. A day has about sixteen.
_PAUSES: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)
_AWAY: Final = 1.0  # seconds until a broker that is away is asked again
_REASON: Final = 2000  # characters
_REMEMBERED: Final = 10_000  # notices


class Notifier:
    """`pauses`, `day`: seconds until the next try, by tries so far; and until a receiver is given up."""

    def __init__(
        self,
        pipeline: Session,
        settings: Settings,
        *,
        pauses: tuple[float, ...] = _PAUSES,
        day: float = _DAY,
    ) -> None:
        self._connection = pipeline.connection
        self._store = pipeline.store
        self._settings = settings
        self._sender = Sender(settings.allow_addresses, settings.webhook_secret)
        self._pauses = pauses
        self._day = day
        # Of notices that one receiver has yet to take: the others, with a refusal. Forgetting it only repeats them.
        self._settled: dict[str, dict[str, Reject | None]] = {}
        self._slots = asyncio.Semaphore(NOTIFY.slots)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled. Ends by itself where this user may not take the facts."""
        try:
            while True:
                with contextlib.suppress(BrokerError, *GONE):
                    await self._pull()
                await asyncio.sleep(_AWAY)
        except Denied as error:
            log.warning("webhooks are not sent from here: %s", error)
        finally:
            await tasks.end(*self._running)
            await self._sender.close()

    async def _pull(self) -> None:
        (consumer,) = NOTIFY.consumers
        async with Puller(self._connection.client, NOTIFY.stream, consumer.durable) as puller:
            while True:
                await self._slots.acquire()
                message = None
                try:
                    message = await puller.next()
                finally:
                    if message is None:
                        self._slots.release()
                if message:
                    running = asyncio.create_task(self._complete(message))
                    self._running.add(running)
                    running.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()

    async def _complete(self, message: Msg) -> None:
        """Bring one fact to its end: acked, given back or given up."""
        try:
            await self._tell(message)
            await message.ack()
        except Reject as error:
            await self._give_up(message, str(error))
        except (V2TError, *GONE) as error:
            tried = message.metadata.num_delivered
            delay = error.delay if isinstance(error, Retry) else None
            if isinstance(error, Retry) and self._is_over(message):
                await self._give_up(message, f"{error} (given up after {tried} tries)")
                return
            log.warning("told later: %s: %s", message.subject, without_secrets(str(error)))
            with contextlib.suppress(*GONE):
                await message.nak(delay or self._pauses[min(tried, len(self._pauses)) - 1])
        except Exception:  # one odd fact must not end the others
            log.exception("unexpected, from %s", message.subject)
            with contextlib.suppress(*GONE):
                await message.nak(self._pauses[-1])

    def _is_over(self, message: Msg) -> bool:
        """Whether its day is over. A notice that has waited for a server meanwhile still has its first tries."""
        age = time.time() - message.metadata.timestamp.timestamp()
        return age > self._day and message.metadata.num_delivered >= len(self._pauses)

    async def _tell(self, message: Msg) -> None:
        """Raises Reject and Retry, and V2TError if the broker or the store is away."""
        job = fold(job_of(message.subject), await history(self._connection, but_chunks(job_of(message.subject))))
        if job.removed or not (self._settings.webhook_url or (job.submitted and job.submitted.callback)):
            return
        found = await self._fact(message)
        if found is None:
            return
        end, sequence, at = found
        record = None
        if isinstance(end, Completed):
            try:
                record = await stored(self._store, end.transcript)
            except StoreAway:
                raise  # its caveats must not be missing only because of that
            except StoreError as error:
                log.warning("told without caveats: %s", error)
        notice = Notice.of(end, job, record, sequence=sequence, at=at)
        await self._send(notice, job)

    async def _send(self, notice: Notice, job: Job) -> None:
        """Raises Reject and Retry once all receivers were asked that have not settled it."""
        settled = self._settled.setdefault(notice.id, {})
        receivers = [self._settings.webhook_url]
        try:
            if job.submitted:
                receivers.insert(0, await links.callback(self._store, job.submitted))
        except Reject as error:  # its link has expired, but the other receiver must still hear of it
            settled[""] = error
        later: Retry | None = None
        for url in dict.fromkeys(filter(None, receivers)):
            if url in settled:
                continue
            try:
                await self._sender.send(url, notice)
                settled[url] = None
            except Reject as error:
                settled[url] = error
            except Retry as error:
                later = error
        if later:
            while len(self._settled) > _REMEMBERED:
                del self._settled[next(iter(self._settled))]
            raise later
        self._settled.pop(notice.id, None)
        for refusal in filter(None, settled.values()):
            raise refusal

    async def _fact(self, message: Msg) -> tuple[End, int, float] | None:
        """The end of the job that the message tells or, sent again, names; with its sequence and time."""
        subject, data = message.subject, message.data
        sequence, at = message.metadata.sequence.stream, message.metadata.timestamp.timestamp()
        try:
            fact = decode(subject, data)
            if isinstance(fact, Notify):
                named = await self._connection.last(JOBS, fact.fact)
                if named is None:
                    return None
                fact, sequence, at = decode(named.subject, named.data), named.sequence, named.at
        except msgspec.DecodeError as error:
            raise Reject(f"the message on {subject} cannot be read: {error}") from error
        return (fact, sequence, at) if isinstance(fact, Completed | Failed | Cancelled) else None

    async def _give_up(self, message: Msg, reason: str) -> None:
        """Dead letter first, then the end of the message: a crash in between repeats this but loses nothing."""
        reason = one_line(without_secrets(reason), _REASON)
        log.error("given up: %s: %s", message.subject, reason)
        letter = DeadLetter(
            job=job_of(message.subject),
            stage=NOTIFY.name,
            reason=reason,
            original_subject=message.subject,
            data=message.data,
            deliveries=message.metadata.num_delivered,
            node=self._settings.node,
        )
        with contextlib.suppress(BrokerError, *GONE):  # then it comes again
            await self._connection.publish(letter, dedupe=f"dead-notify-{message.metadata.sequence.stream}")
            await message.term()


async def notifying(app: web.Application) -> AsyncIterator[None]:
    """Send webhooks while the application runs."""
    running = asyncio.create_task(Notifier(app[PIPELINE], app[SETTINGS]).run())
    yield
    await tasks.end(running)
