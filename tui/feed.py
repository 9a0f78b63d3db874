"""Reads the broker and posts messages; whoever handles the messages owns the state."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from textual.message import Message

from schemas.events import ChunkDone
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import NodeInfo, fleet
from v2t_stream.jobs.dead_letters import Dead, dead_letters
from v2t_stream.topology.queues import Queue, queues
from v2t_stream.topology.streams import DEAD, JOBS
from v2t_stream.topology.subjects import any_run, but_chunks, facts_of, results_of

_TOGETHER: Final = 128  # facts handled before the keyboard is looked at
_AHEAD: Final = 512  # facts read ahead
_COALESCED: Final = 0.05  # seconds that a fact may wait for others to be posted with
_LOOK_EVERY: Final = 1.0  # seconds between two looks at the fleet
_QUEUES_EVERY: Final = 2  # looks
_PATIENCE: Final = 4.0  # seconds without an answer until the broker counts as away

Post = Callable[[Message], object]


class Facts(Message):
    """Facts of jobs in the stream's order; None marks the end of the history: what follows is new."""

    def __init__(self, origin: str, stored: list[Stored | None]) -> None:
        super().__init__()
        self.origin = origin  # the job whose facts were asked for; empty for all jobs
        self.stored = stored
        self.taken = asyncio.Event()  # nothing more is posted before: a key waits for one bunch at most


class Around(NamedTuple):
    """What there is besides jobs."""

    nodes: Sequence[NodeInfo] = ()
    queues: Sequence[Queue] = ()
    dead: Sequence[Dead] = ()
    ahead: float = 0.0  # seconds that the server's clock is ahead of ours


class Looked(Message):
    def __init__(self, around: Around) -> None:
        super().__init__()
        self.around = around


class Away(Message):
    """The broker does not answer, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


async def all_jobs(connection: Connection, post: Post) -> None:
    """The facts of all jobs, history first, then live; of chunks only new ones. Raises BrokerError."""
    state = (await connection.api(f"STREAM.INFO.{JOBS}"))["state"]
    # Chunks from here on, so that none is missed that is stored while the history is read.
    chunks = connection.watch(JOBS, *any_run(ChunkDone, job="*", n="*"), after=state["last_seq"])
    others = connection.watch(JOBS, *but_chunks())
    await together(_forward(chunks, post, "", mark_end=False), _forward(others, post, ""))


async def chunks_of(connection: Connection, post: Post, jobs: list[str]) -> None:
    """The facts that exist of these jobs' chunks. Raises BrokerError."""
    patterns = [results_of(job) for job in jobs]
    await _forward(connection.watch(JOBS, *patterns, live=False), post, "", mark_end=False)


async def one_job(connection: Connection, post: Post, job: str) -> None:
    """All facts of one job, history first, then live. Raises BrokerError."""
    await _forward(connection.watch(JOBS, facts_of(job)), post, job)


async def _forward(facts: AsyncGenerator[Stored | None], post: Post, origin: str, *, mark_end: bool = True) -> None:
    """Post facts in bunches. `mark_end`: post None where their history ends."""
    arrived: asyncio.Queue[Stored | None] = asyncio.Queue(_AHEAD)
    is_live = False

    async def post_bunches() -> None:
        while True:
            bunch = [await arrived.get()]
            if is_live and arrived.qsize() < _TOGETHER:
                await asyncio.sleep(_COALESCED)
            bunch += [arrived.get_nowait() for _ in range(min(arrived.qsize(), _TOGETHER))]
            message = Facts(origin, bunch)
            post(message)
            await message.taken.wait()
            for _ in bunch:
                arrived.task_done()

    posting = asyncio.create_task(post_bunches())
    try:
        async with contextlib.aclosing(facts):
            async for stored in facts:
                is_live = is_live or stored is None
                if stored or mark_end:
                    await arrived.put(stored)
        await arrived.join()
    finally:
        posting.cancel()


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them until one raises, which ends the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def look_around(connection: Connection, post: Post, changed: asyncio.Event) -> None:
    """Nodes every second, queues and dead letters every two, and all at once when `changed` is set."""
    around = Around()
    dead_at: object = None
    looks = 0
    while True:
        try:
            async with asyncio.timeout(_PATIENCE):
                if not connection.client.is_connected:
                    raise BrokerError("reconnecting")  # noqa: TRY301  # reported like any other reason below
                nodes = await fleet(connection)
                if looks % _QUEUES_EVERY == 0:
                    info = await connection.api(f"STREAM.INFO.{DEAD}")
                    ahead = datetime.fromisoformat(info["ts"]).timestamp() - time.time()
                    state = {name: info["state"][name] for name in ("messages", "first_seq", "last_seq")}
                    dead = around.dead if state == dead_at else await dead_letters(connection)
                    dead_at = state
                    around = Around(nodes, await queues(connection), dead, ahead)
                post(Looked(around._replace(nodes=nodes)))
        except (BrokerError, TimeoutError) as error:
            post(Away(str(error) or "no answer"))
            looks = -1  # all of it, as soon as the broker is back
        looks += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):
                await changed.wait()
            looks = 0
        changed.clear()
