"""People who use a pipeline at random, by a seed: they submit, retry, redrive and cancel at the same time."""

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from schemas.requests import SubmitRequest
from tests.oracle import Recording
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, StoreError, V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.dead_letters import dead_letters
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.redrive import redrive
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore

_RECENT: Final = 12  # recent jobs to choose from
_FORCED: Final = 0.75  # of the submissions
_WAYS: Final = {  # with their weights
    "retry": 3,
    "retry by model": 5,
    "retry of a chunk": 3,
    "retry of a chunk by model": 2,
    "two retries at once": 3,
    "redrive": 4,
    "cancel": 2,
}


class Offer(NamedTuple):
    """What people can submit, and where links lead."""

    recordings: Sequence[Recording]
    models: Sequence[str]
    web: str


class Retried(NamedTuple):
    """A retry that was accepted."""

    job: str
    run: int
    model: str | None


class People:
    """Many users in one, and the answers they got."""

    def __init__(self, connection: Connection, offer: Offer, home: Path, seed: int) -> None:
        self._connection = connection
        self._store = JetStreamStore(connection)
        self._recordings, self._models, self._web = offer
        self._home = home
        self._random = random.Random(f"people {seed}")
        self._before: tuple[Recording, str] | None = None
        self.jobs: list[str] = []  # submitted and acknowledged
        self.retried: list[Retried] = []
        self.cancelled: list[str] = []
        self.counts: Counter[str] = Counter()
        self.refused = 0

    async def submit(self) -> str:
        """Submit something; sometimes what was submitted just before, with another model."""
        recording, model = self._random.choice(self._recordings), self._random.choice(self._models)
        again = self._random.random() < 0.25  # a share
        force = self._random.random() < _FORCED
        if again and self._before:
            recording, other = self._before
            model = next(each for each in self._models if each != other)
            self.counts["second submission by another model"] += 1
        self._before = recording, model
        return await self.submit_as(recording, model, force=force)

    async def submit_as(self, recording: Recording, model: str, *, force: bool) -> str:
        """Submit as the command line does, repeating it with one id until it is stored."""
        number, message_id = len(self.jobs), secrets.token_urlsafe()
        wish = SubmitRequest(title=recording.title, model=model, language="en", force=force)
        while True:
            try:
                media = None
                if not recording.is_link:
                    media = f"media/uploads/{number}-{message_id}/{recording.path.name}"
                    await self._store.put_file(media, recording.path)
                url = f"{self._web}/{recording.path.name}" if recording.is_link else None
                request = SubmitRequest(**{**_fields(wish), "media": media, "url": url})
                job, _ = await submit(self._connection, request, message_id=message_id)
            except (BrokerError, StoreError):
                await asyncio.sleep(0.1)
            else:
                self.jobs.append(job)
                return job

    async def act(self) -> None:
        """Do one thing to a recent job. It may be refused; if the broker gave no answer, it may be done or not."""
        (way,) = self._random.choices([*_WAYS], [*_WAYS.values()])
        models = self._random.sample(self._models, 2)
        share = self._random.random()
        if not self.jobs:
            return
        chosen = self._random.choice(self.jobs[-_RECENT:])
        try:
            await self._do(way, chosen, models, share)
        except BrokerError:
            self.counts["without an answer"] += 1
        except V2TError:
            self.refused += 1
        else:
            self.counts[way] += 1

    async def _do(self, way: str, chosen: str, models: list[str], share: float) -> None:
        if way == "redrive":
            await self._redrive(share)
            return
        job = await read(self._connection, chosen)
        match way:
            case "cancel":
                await operations.cancel(self._connection, self._store, job)
                self.cancelled.append(job.id)
            case "two retries at once":
                before = len(self.retried)
                both = [self._retry(job, model=model) for model in models]
                answers = await asyncio.gather(*both, return_exceptions=True)
                assert len(self.retried) - before <= 1, f"two retries of run {job.run} of job {job.id} were accepted"
                if len(self.retried) == before:
                    raise next(answer for answer in answers if isinstance(answer, BaseException))
            case _:
                chunk = sorted(job.chunks)[int(share * len(job.chunks))] if "chunk" in way and job.chunks else None
                if "chunk" in way and chunk is None:
                    raise V2TError("no chunk is done yet")
                await self._retry(job, chunk=chunk, model=models[0] if "model" in way else None)

    async def _retry(self, job: Job, *, chunk: int | None = None, model: str | None = None) -> None:
        await operations.retry(self._connection, job, chunk=chunk, model=model)
        self.retried.append(Retried(job.id, job.run + 1, model))

    async def _redrive(self, share: float) -> None:
        letters = await dead_letters(self._connection)
        if not letters:
            raise V2TError("there are no dead letters")
        await redrive(self._connection, self._store, letters[int(share * len(letters))], self._home)

    async def redrive_all(self) -> int:
        """Redrive all dead letters, as an operator does; returns how many there were."""
        letters = await dead_letters(self._connection)
        for dead in letters:
            with contextlib.suppress(V2TError):  # its job was cancelled or retried since
                await redrive(self._connection, self._store, dead, self._home)
        return len(letters)


def _fields(request: SubmitRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in SubmitRequest.__struct_fields__}
