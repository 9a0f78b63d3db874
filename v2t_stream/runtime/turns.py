"""Fair shares: the chunks of a long job enter the queue a few at a time, so that a short job behind it is soon done.

The queue is first in, first out, so a new job waits for everything in it. We keep it as short as the fleet's slots
allow: the chunks in progress and a few to spare. The other chunks of a long job wait in the process that cut them, and
free room goes to the job with the fewest chunks in the queue.
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

_FIRST: Final = 4  # chunks of every job that never wait: about two minutes of speech
_SPARE: Final = 4  # waiting chunks, at least, besides those in progress; otherwise a quarter of these
_UNSEEN: Final = 32  # waiting chunks if no live node takes from the queue: for nodes to come
_LOOKS: Final = (0.05, 0.5)  # seconds between looks at the queue, at least and at most
_FLEET: Final = 2.0  # seconds for which a look at the fleet is valid

Send = Callable[[Message], Awaitable[bool]]  # returns whether the message counts


class Outbox:
    """Sends what a stage yields for one message, in order: chunks when it is their job's turn, the rest at once.

    Made by `Turns.outbox`.
    """

    def __init__(self, send: Send, turns: "Turns", allowed: float) -> None:
        self._send = send
        self._turns = turns
        self._allowed = allowed  # chunks that may be sent now
        self._news = asyncio.Event()
        self.held: deque[Message] = deque()
        self.is_complete = False  # nothing more will come

    async def put(self, result: Message) -> bool:
        """Send `result` if it is its turn, otherwise keep it; False if it was sent and does not count."""
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
        """Whether the last message that was sent counts."""
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
    """The state of a queue of chunks."""

    queued: Counter[str]  # chunks by job
    spare: int
    free: int  # chunks that may be added; negative if there are too many


class Turns:
    """Decides how many chunks the outboxes of this process may send, while any of them holds some."""

    def __init__(self, connection: Connection, held: int) -> None:
        """`held`: the jobs whose chunks it may hold back."""
        self._connection = connection
        self._held = held
        self._outboxes: dict[Outbox, None] = {}  # by age
        self._first: float = _FIRST
        self._dealing: asyncio.Task[None] | None = None
        self._nodes: list[NodeInfo] = []
        self._looked = -math.inf  # when, on the monotonic clock

    @contextmanager
    def outbox(self, send: Send) -> Iterator[Outbox]:
        outbox = Outbox(send, self, self._first)
        self._outboxes[outbox] = None
        try:
            yield outbox
        finally:
            del self._outboxes[outbox]

    def begin(self) -> None:
        """Start to share, because an outbox holds chunks."""
        if self._dealing is None or self._dealing.done():
            self._dealing = asyncio.create_task(self._deal())

    def hurry(self) -> None:
        """From now on nothing waits: this process is ending, and others would have to cut its chunks again."""
        self._first = math.inf
        if self._dealing:
            self._dealing.cancel()
        for outbox in self._outboxes:
            outbox.allow(math.inf)

    async def _deal(self) -> None:
        pause = _LOOKS[0]
        while waiting := [outbox for outbox in self._outboxes if outbox.held]:
            self._let_go(waiting)
            try:
                pause = await self._share(waiting, pause)
            except BrokerError as error:
                log.debug("%s", error)  # the broker is away, so nothing can be sent either
            except Exception:  # otherwise the outboxes would wait for ever
                log.exception("unexpected error while chunks wait for their turn")
            await asyncio.sleep(pause)

    def _let_go(self, waiting: list[Outbox]) -> None:
        """If too many jobs have chunks held back, send those of the smallest jobs, which delay others the least."""
        complete = sorted((outbox for outbox in waiting if outbox.is_complete), key=lambda outbox: len(outbox.held))
        for outbox in complete[: max(0, len(complete) - self._held)]:
            outbox.allow(math.inf)

    async def _share(self, waiting: list[Outbox], pause: float) -> float:
        """Share the free room; returns the seconds until the next look. `pause`: the seconds before this one."""
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
            # By then, half of the spare chunks should have left the queue.
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
        # Nodes of a release that does not say which queues it pulls from may pull from this one.
        slots = sum(info.slots for info in self._nodes if info.is_alive and (not info.queues or queue in info.queues))
        spare = max(_SPARE, slots // 4) if slots else _UNSEEN
        return _Room(Counter(map(job_of, subjects)), spare, slots + spare - len(subjects))


def shares(room: int, queued: Sequence[int], held: Sequence[int]) -> list[int]:
    """How many chunks each job may add to a queue that has room for `room`.

    `queued`: each job's chunks in the queue, the oldest job first. `held`: those that it could add. Each place goes to
    the job with the fewest, the older first. Even without room every job may have one chunk in the queue, so that none
    starves.
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
