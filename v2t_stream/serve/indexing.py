"""Keeps the index of all transcripts as the jobs are, in one of the servers of a machine: the others only read it."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Collection
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from v2t_stream.broker.locks import try_lock
from v2t_stream.errors import ObjectMissing, SettingsError, StoreError
from v2t_stream.host import tasks
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs.state import Job
from v2t_stream.search.file import is_broken, remove
from v2t_stream.search.index import Index, Lines
from v2t_stream.serve.board import BOARD, Board
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.listening import Listener
from v2t_stream.serve.problems import Problem
from v2t_stream.settings.home import make_folder
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.ids import place_of

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 2.0  # seconds between checks whether another server has left the index to us, or the file is gone
_AGAIN: Final = 30.0  # seconds until what failed is tried again
_EXPIRY: Final = 3600.0  # the store does not say that something has expired
_TOGETHER: Final = 0.5  # seconds in which changes are looked at together
_AT_ONCE: Final = 500  # jobs looked at before others get a turn


class _Wanted(NamedTuple):
    """What the index should have of a job."""

    transcript: str
    owner: str


class Indexer:
    """Compares what is in the index with what the board says: it can die at any moment, and goes on from there."""

    def __init__(self, store: ObjectStore, board: Board, path: Path, *, expiry: float = _EXPIRY) -> None:
        """`expiry`: seconds between two looks for transcripts that have expired."""
        self._store = store
        self._expiry = expiry
        self._board = board
        self._path = path
        self._index: Index
        self._known: dict[str, str] = {}  # by job the transcript that is in the index
        self._due: dict[str, _Wanted] = {}  # by job what should be in the index and is not
        self._is_complete: bool | None = None  # as the index says
        self._waits_until = 0.0  # on the loop's clock, as the store did not answer

    async def run(self) -> None:
        """Keep the index until cancelled, as soon as no other server does."""
        while True:
            try:
                make_folder(self._path.parent)
                with self._path.with_suffix(".lock").open("w") as lock:
                    while not try_lock(lock.fileno()):  # noqa: ASYNC110  # other processes cannot set our Event
                        await asyncio.sleep(_LOOK_EVERY)
                    await self._lead()
            except sqlite3.Error as error:
                if is_broken(error):
                    log.warning("the search index %s is damaged (%s): it is built again", self._path, error)
                    remove(self._path)
                    continue
                log.warning("the search index %s cannot be kept (%s): search may miss words", self._path, error)
            except (SettingsError, OSError) as error:
                log.warning("the search index cannot be kept (%s): search may miss words", error)
            except Exception:
                log.exception("the search index is read again")
            await asyncio.sleep(_AGAIN)

    async def _lead(self) -> None:
        """Keep the index until its file is gone."""
        await self._ready()
        self._index = await in_thread(lambda: Index(self._path))
        if self._index.is_new:
            log.info("the search index %s is built", self._path)
        try:
            self._known, self._due, self._is_complete = await in_thread(self._index.known), {}, None
            with self._board.listeners.to_all() as listener:
                await self._follow(listener)
        finally:
            self._index.close()

    async def _ready(self) -> None:
        while True:
            with contextlib.suppress(Problem):  # the broker does not answer
                await self._board.ready()
                return

    async def _follow(self, listener: Listener) -> None:
        now = asyncio.get_running_loop().time
        readings, compared_at, changed = 0, 0.0, set[str]()
        while self._index.is_there:
            if readings != self._board.readings or now() - compared_at > self._expiry:
                readings, compared_at = self._board.readings, now()
                await self._compare(None)
            elif changed:
                await self._compare(changed)
            await self._tell()
            await self._add(listener)
            await self._tell()
            changed = set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    changed = {*await listener.changed()}
            await asyncio.sleep(_TOGETHER if changed else 0)

    async def _compare(self, tops: Collection[str] | None) -> None:
        """Find out what to add, and take out what nobody may find now. `tops`: only these jobs and their entries."""
        stored = await self._stored() if tops is None else None
        wanted = await self._wanted(self._board.jobs if tops is None else tops)
        if stored is not None:
            wanted = {id_: each for id_, each in wanted.items() if f"{each.transcript}.json" in stored}
        concerned = [id_ for id_ in {**self._known, **self._due} if tops is None or place_of(id_)[0] in tops]
        for id_ in concerned:
            self._due.pop(id_, None)
        self._due |= {id_: each for id_, each in wanted.items() if self._known.get(id_) != each.transcript}
        if gone := [id_ for id_ in concerned if id_ in self._known and id_ not in wanted]:
            await in_thread(lambda: self._index.drop(gone))
            for id_ in gone:
                del self._known[id_]

    async def _wanted(self, tops: Collection[str]) -> dict[str, _Wanted]:
        """What the index should have of these jobs and their entries; others work meanwhile."""
        wanted: dict[str, _Wanted] = {}
        for place, top in enumerate([*tops], 1):
            if job := self._board.jobs.get(top):
                wanted |= _wanted(job)
            if not place % _AT_ONCE:
                await asyncio.sleep(0)
        return wanted

    async def _stored(self) -> set[str] | None:
        """The files of all transcripts; None if the store does not say."""
        try:
            return {*await self._store.keys("transcripts/")}
        except StoreError as error:
            log.warning("transcripts that have expired stay in the search index for now: %s", error)
            return None

    async def _add(self, listener: Listener) -> None:
        """Put into the index what is due, until something else has changed."""
        now = asyncio.get_running_loop().time
        while self._due and now() > self._waits_until and not listener.has_news:
            id_, wanted = next(iter(self._due.items()))
            del self._due[id_]
            try:
                record = await self._store.get(f"{wanted.transcript}.json")
            except ObjectMissing:
                continue  # it has expired
            except StoreError as error:
                log.warning("search does not find job %s for now: %s", id_, error)
                self._due[id_] = wanted  # last, so that one that cannot be read holds up no other
                self._waits_until = now() + _AGAIN
                return
            await in_thread(partial(self._put, id_, wanted, record))
            self._known[id_] = wanted.transcript

    def _put(self, id_: str, wanted: _Wanted, record: bytes) -> None:
        try:
            lines = Lines.of(record)
        except msgspec.DecodeError as error:
            log.warning("search does not find job %s: its transcript cannot be read (%s)", id_, error)
            lines = Lines(())
        self._index.replace(id_, wanted.transcript, wanted.owner, lines)

    async def _tell(self) -> None:
        """Say in the index whether all is in it."""
        if (yes := not self._due) is not self._is_complete:
            await in_thread(lambda: self._index.set_complete(yes=yes))
            self._is_complete = yes


def _wanted(job: Job) -> dict[str, _Wanted]:
    """What the index should have of a job, or of its entries, by their ids."""
    if job.removed:
        return {}
    there = (part for part in job.parts if part.state == "completed" and part.transcript and not part.removed)
    return {part.id: _Wanted(part.transcript, part.submitted.owner if part.submitted else "") for part in there}


INDEX: Final = web.AppKey("index", Path)


async def kept(app: web.Application) -> AsyncIterator[None]:
    """Keep the index while an application runs."""
    indexer = Indexer(app[PIPELINE].store, app[BOARD], app[INDEX])
    running = asyncio.create_task(indexer.run())
    yield
    await tasks.end(running)
