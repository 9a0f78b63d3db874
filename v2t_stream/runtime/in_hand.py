"""A worker's current work: tasks in slots, tasks that nobody needs any more, and tasks that hang."""

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any

from nats.aio.msg import Msg

from v2t_stream.errors import Hung
from v2t_stream.fleet.presence import Presence
from v2t_stream.runtime.patience import Patience
from v2t_stream.topology.subjects import INBOX_SUBJECTS, job_of, run_of


class InHand:
    """Tasks. Each holds a slot until it ends, or until it only waits to send its results."""

    def __init__(self, slots: int, presence: Presence, patience: Patience) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._presence = presence
        self._presence.slots = slots
        self._patience = patience
        self._tasks: dict[asyncio.Task[None], str] = {}  # with the subject of each one's message
        self._moot: set[asyncio.Task[None]] = set()  # cancelled because nobody needs their result any more
        self._sending: set[asyncio.Task[None]] = set()  # have left their slots, and only wait until all is sent
        self.hung = asyncio.Event()

    async def take_slot(self) -> None:
        await self._slots.acquire()

    async def take_free_slots(self, most: int) -> int:
        """Take the slots that are free now; returns how many."""
        taken = 0
        while taken < most and not self._slots.locked():
            await self._slots.acquire()
            taken += 1
        return taken

    def give_slots_back(self, count: int) -> None:
        for _ in range(count):
            self._slots.release()

    def begin(self, subject: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work in a slot that is already taken."""
        task = asyncio.create_task(work)
        self._tasks[task] = subject
        self._presence.since[subject] = time.monotonic()
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        subject = self._tasks.pop(task)
        self._moot.discard(task)
        if task in self._sending:
            self._sending.discard(task)
            self._presence.sending.discard(subject)
        else:
            self._leave_slot(subject)

    def only_send(self, subject: str) -> None:
        """Free the current task's slot: it now only waits until all its results are sent."""
        if task := asyncio.current_task():
            self._sending.add(task)
            self._presence.sending.add(subject)
            self._leave_slot(subject)

    def _leave_slot(self, subject: str) -> None:
        self._presence.since.pop(subject, None)
        self._slots.release()

    def count(self, subject: str) -> int:
        """How many tasks do this work."""
        return [*self._tasks.values()].count(subject)

    def is_moot(self) -> bool:
        """Whether the current task was cancelled because nobody needs its result any more."""
        return asyncio.current_task() in self._moot

    async def end_older(self, message: Msg) -> None:
        """End the tasks of a job that was just cancelled, or of its older runs if a new run begins."""
        job, run = job_of(message.subject), run_of(message.subject) or math.inf
        for task, subject in list(self._tasks.items()):
            if subject not in INBOX_SUBJECTS and job_of(subject) == job and run_of(subject) < run:
                self.end_as_moot(task)

    def end_as_moot(self, task: "asyncio.Task[None] | None") -> None:
        if task:
            self._moot.add(task)
            task.cancel()
            watch = self.watched(0)
            task.add_done_callback(lambda _: watch.cancel())

    def watched(self, seconds: float) -> asyncio.TimerHandle:
        """A timer that work cancels when it ends: work still there a while after `seconds` hangs, and ends us."""
        return asyncio.get_running_loop().call_later(seconds + self._patience.hung, self.hung.set)

    async def drain(self) -> None:
        """Let tasks finish for a while; then cancel the rest, which gives their messages back."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._patience.drain)
        if left := set(self._tasks):
            for task in left:
                if not task.cancelling():  # cancelling twice would take away what its thread still uses
                    task.cancel()
            await asyncio.wait(left, timeout=self._patience.leave)

    def check_ended(self) -> None:
        """Raises Hung if a task does not stop."""
        if self._tasks:
            raise Hung(f"{', '.join(self._tasks.values())} does not stop: the stage ends without it")
