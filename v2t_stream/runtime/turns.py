"""Fair shares: the chunks of a long job enter the queue a few at a time, so that a short job behind it is soon done.

The queue is first in, first out, so whoever comes now waits for what lies in it. It is kept as short as the fleet's
slots allow: what they have in hand and a few to spare. The other chunks of a long job wait with the process that cut
them, and the room that comes up goes to the job with the fewest in the queue.
"""

import asyncio
import heapq
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from schemas.chunks import ChunkTask
from schemas.message import Message
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.topology.streams import CHUNKS
from v2t_stream.topology.subjects import job_of, tasks_of

log = logging.getLogger(__name__)

_FIRST: Final = 4  # chunks of every job that wait for nothing: about two minutes of speech
_SPARE: Final = 4  # the fewest chunks to wait in the queue beside those that are in hand; otherwise a quarter of them
_UNSEEN: Final = 32  # chunks to wait in the queue where nobody is alive who takes from it: for whoever comes
_HELD: Final = 32  # jobs of which a process holds chunks back; the ten-hour ones are 3 MB each
_LOOKS: Final = (0.05, 0.5)  # seconds from one look at the queue to the next, at least and at most
_FLEET: Final = 2.0  # seconds for which a look at the fleet serves

Send = Callable[[Message], Awaitable[bool]]  # whether it stands


class Outbox:
    """What a stage has yielded for one message, sent in its order: a chunk when it is its job's turn, the rest at once.

    Made by `Turns.outbox`.
    """

    def __init__(self, send: Send, turns: "Turns", allowed: float) -> None:
        self._send = send
        self._turns = turns
        self._allowed = allowed  # chunks that may be sent now
        self._news = asyncio.Event()
        self.held: deque[Message] = deque()
        self.is_complete = False  # nothing more will be put in

    async def put(self, result: Message) -> bool:
        """Send `result` if it may be sent by now, or keep it; False where it was sent and does not stand."""
        self.held.append(result)
        return await self._send_allowed() or bool(self.held)

    async def drain(self) -> None:
        """Send what is kept, each in its turn."""
        self.is_complete = True
        while self.held:
            self._news.clear()
            await self._send_allowed()
            if self.held:
                await self._news.wait()

    @property
    def has_sent_allowed(self) -> bool:
        """Whether all chunks that it may send are in the queue."""
        return self._allowed < 1

    def allow(self, chunks: float) -> None:
        if self._allowed < math.inf:
            self._allowed = chunks
        self._news.set()

    async def _send_allowed(self) -> bool:
        """Whether the last one that was sent stands."""
        stands = True
        while self.held:
            is_chunk = isinstance(self.held[0], ChunkTask)
            if is_chunk and self.has_sent_allowed:
                self._turns.begin()
                break
            stands = await self._send(self.held.popleft())
            self._allowed -= is_chunk
        return stands


class _Room(NamedTuple):
    """A queue of chunks at a moment."""

    queued: Counter[str]  # chunks by job
    spare: int
    free: int  # chunks that may be added; below 0 where there are more than enough


class Turns:
    """Says how many chunks the outboxes of this process may send, for as long as any of them holds some."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outboxes: dict[Outbox, None] = {}  # by age
        self._first: float = _FIRST
        self._dealing: asyncio.Task[None] | None = None
        self._nodes: list[NodeInfo] = []
        self._looked = -math.inf  # when, by the monotonic clock

    @contextmanager
    def outbox(self, send: Send) -> Iterator[Outbox]:
        outbox = Outbox(send, self, self._first)
        self._outboxes[outbox] = None
        try:
            yield outbox
        finally:
            del self._outboxes[outbox]

    def begin(self) -> None:
        """Some outbox holds chunks."""
        if self._dealing is None or self._dealing.done():
            self._dealing = asyncio.create_task(self._deal())

    def hurry(self) -> None:
        """From now on nothing waits: this process ends, and what it holds would have to be cut again elsewhere."""
        self._first = math.inf
        if self._dealing:
            self._dealing.cancel()
        for outbox in self._outboxes:
            outbox.allow(math.inf)

    async def _deal(self) -> None:
        pause = _LOOKS[0]
        while waiting := [outbox for outbox in self._outboxes if outbox.held]:
            _let_go(waiting)
            try:
                pause = await self._share(waiting, pause)
            except BrokerError as error:
                log.debug("%s", error)  # the broker is away, and so nothing can be sent either
            except Exception:  # those who wait would wait for ever
                log.exception("unexpected error while chunks wait for their turn")
            await asyncio.sleep(pause)

    async def _share(self, waiting: list[Outbox], pause: float) -> float:
        """Deal out the room there is; the seconds until the next look, `pause` having been those until this one."""
        queues: dict[str, list[tuple[Outbox, ChunkTask]]] = {}
        for outbox in waiting:
            if outbox.held and outbox.has_sent_allowed and isinstance(task := outbox.held[0], ChunkTask):
                queues.setdefault(task.options.accelerator, []).append((outbox, task))
        pauses = [_LOOKS[1]]
        for accelerator, jobs in queues.items():
            room = await self._room(accelerator)
            queued = [room.queued[task.job] for _, task in jobs]
            given = shares(room.free, queued, [len(outbox.held) for outbox, _ in jobs])
            for (outbox, _), chunks in zip(jobs, given, strict=True):
                if chunks:
                    outbox.allow(chunks)
            # So that half of what is to spare has been taken from the queue by then.
            change = room.spare / (2 * max(room.free, 1))
            pauses.append(pause * min(1.5, max(0.5, change)))
        return max(_LOOKS[0], min(pauses))

    async def _room(self, accelerator: str) -> _Room:
        """Raises BrokerError."""
        subjects = await self._connection.subjects(CHUNKS, tasks_of(accelerator))
        now = time.monotonic()
        if now - self._looked > _FLEET:
            self._nodes, self._looked = await fleet(self._connection, "transcribe"), now
        queue = f"transcribe-{accelerator}"
        # A node of a release that does not say what it pulls from may pull from this.
        slots = sum(info.slots for info in self._nodes if info.is_alive and (not info.queues or queue in info.queues))
        spare = max(_SPARE, slots // 4) if slots else _UNSEEN
        return _Room(Counter(map(job_of, subjects)), spare, slots + spare - len(subjects))


def _let_go(waiting: list[Outbox]) -> None:
    """Where chunks of too many jobs are held, those of whom there are the fewest go, which others feel the least."""
    complete = sorted((outbox for outbox in waiting if outbox.is_complete), key=lambda outbox: len(outbox.held))
    for outbox in complete[: max(0, len(complete) - _HELD)]:
        outbox.allow(math.inf)


def shares(room: int, queued: Sequence[int], held: Sequence[int]) -> list[int]:
    """How many chunks each job may add to the queue, where there is room for `room`.

    `queued`: the chunks that each has there, the oldest job first. `held`: those that it could add. One at a time goes
    to whoever has the fewest, the older first. Also without any room everybody may have one in the queue, so that
    nobody starves.
    """
    given = [0] * len(queued)
    heap = [(chunks, place) for place, chunks in enumerate(queued) if held[place]]
    heapq.heapify(heap)
    while heap and (room > 0 or not heap[0][0]):
        chunks, place = heapq.heappop(heap)
        given[place] += 1
        room -= 1
        if given[place] < held[place]:
            heapq.heappush(heap, (chunks + 1, place))
    return given
