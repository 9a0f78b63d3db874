"""Looks up whether results are already stored: one request for all callers at the same time."""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.topology.streams import JOBS

_AT_ONCE: Final = 256  # questions in a request; the server takes 1,024 subjects, and a question has up to four


class _Question(NamedTuple):
    subjects: list[str]
    answer: "asyncio.Future[bool]"


class Settled:
    """Answers whether one of several subjects has a fact.

    Work comes in bursts, and hardly anything in a burst is settled. So questions asked during a request share the next
    one, and each is asked on its own only if that one finds something.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._questions: deque[_Question] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def any_of(self, subjects: list[str]) -> bool:
        """Whether at least one of `subjects` has a fact. Raises BrokerError, whatever went wrong."""
        question = _Question(subjects, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await question.answer

    async def _ask(self) -> None:
        while self._questions:
            together = [self._questions.popleft() for _ in range(min(_AT_ONCE, len(self._questions)))]
            everything = {subject for question in together for subject in question.subjects}
            try:
                seems = await self._connection.seems_any_of(JOBS, sorted(everything))
                for question in together:
                    settled = seems and await self._connection.any_of(JOBS, question.subjects)
                    if not question.answer.done():  # not cancelled meanwhile
                        question.answer.set_result(settled)
            except Exception as error:  # noqa: BLE001  # whatever it is, the callers must get it
                reason = error if isinstance(error, BrokerError) else BrokerError(f"cannot see what is done: {error!r}")
                for question in together:
                    if not question.answer.done():
                        question.answer.set_exception(reason)
            finally:
                for question in together:
                    question.answer.cancel()  # if we are cancelled; does not affect answers already given
