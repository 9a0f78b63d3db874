"""Fetches links in separate processes, with limits.

yt-dlp reads what strangers send. In a process of its own it can be guarded (guard.py), gives back its memory and
threads when it ends, and can be killed: nothing else stops a server that sends a byte now and then. It takes a second
of a core to load, so a process whose link ended cleanly fetches the next one.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.media import Listing, Media
from v2t_stream.fetch.messages import Answer, Failed, Fetched, Looked, Order, Received
from v2t_stream.settings import Settings
from v2t_stream.text import without_secrets

_LEAST: Final = 256 << 10  # bytes
_LONGEST: Final = 64 << 20  # bytes of one answer, such as a list of 10,000 entries
# What the process gets of the environment: what programs, Python and network libraries need; no passwords, no keys.
_PASSED: Final = ("HOME", "LANG", "PATH", "REQUESTS_CA_BUNDLE", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH")
_PASSED_GROUPS: Final = ("LC_", "PYTHON", "SSL_CERT_", "XDG_")


class Patience(NamedTuple):
    """Seconds. Tests use shorter times."""

    # From the start, if no link comes, until a process does: the other stages and the engine need the cores more.
    unhurried: float = 10.0
    looking: float = 900.0  # to find out what a link leads to; long lists take minutes
    slow: float = 300.0  # in which a download must bring _LEAST: anything slower takes longer than to play


DEFAULT: Final = Patience()
_decode = msgspec.json.Decoder(Received | Looked | Fetched | Failed).decode


class FetchHost:
    """Keeps one idle process for the next link; if several links come at once, the others start their own."""

    def __init__(self, settings: Settings, patience: Patience = DEFAULT) -> None:
        self._settings = settings
        self._patience = patience
        self._idle: asyncio.Task[Process] | None = None
        self._quiet = asyncio.get_running_loop().call_later(patience.unhurried, self._start)
        self._closed = False

    @contextlib.asynccontextmanager
    async def fetching(
        self, url: str, folder: Path, *, place: int | None = None, limit: int | None = None
    ) -> AsyncIterator["Fetching"]:
        """Fetch what `url` leads to. `place` and `limit`: see v2t_stream.fetch.link.Fetch."""
        known = msgspec.structs.replace(self._settings, nats_url="", minio_access_key="", minio_secret_key="")
        order = Order(url=url, folder=str(folder), settings=known, place=place, limit=limit)
        self._quiet.cancel()
        one = Fetching(order, self._patience)
        try:
            await one.begin(self._taken())
            yield one
        finally:
            process = await one.starting
            if one.more and not self._idle and not self._closed:
                self._idle = one.starting
            else:
                await _end(process)

    async def close(self) -> None:
        """End the idle process."""
        self._closed = True
        self._quiet.cancel()
        if idle := self._taken():
            await _end(await idle)

    def _start(self) -> None:
        self._idle = asyncio.create_task(_started())

    def _taken(self) -> asyncio.Task[Process] | None:
        """The idle process, which from now on belongs to the caller; None if none is alive."""
        idle, self._idle = self._idle, None
        if idle and idle.done() and (idle.exception() or idle.result().returncode is not None):
            return None  # and must not be killed: its pid may belong to another process by now
        return idle


class Fetching:
    """One link in its process. `look` and `download` yield their progress, and raise Reject or Retry.

    `look` sets `listing` or `origin`, `download` sets `media`: see v2t_stream.fetch.link.Fetch.
    """

    media: Media

    def __init__(self, order: Order, patience: Patience) -> None:
        self._order = order
        self._patience = patience
        self._url = without_secrets(order.url)  # for people
        self.more = False  # whether its process can take another link
        self.listing: Listing | None = None
        self.origin = ""

    async def begin(self, idle: asyncio.Task[Process] | None) -> None:
        """Take the idle process, or start one."""
        self._was_idle = idle is not None
        self.starting = idle or asyncio.create_task(_started())
        self._process = await asyncio.shield(self.starting)  # a cancellation must not lose the process

    async def look(self) -> AsyncGenerator[Received]:
        order = msgspec.json.encode(self._order)
        try:
            async for received in self._step(order):
                yield received
        except _Died:
            if not self._was_idle:
                raise
            await _end(self._process)
            await self.begin(None)  # the idle process had died, or an earlier link had left something fatal in it
            async for received in self._step(order):
                yield received

    async def download(self) -> AsyncGenerator[Received]:
        """Download what `look` found."""
        async for received in self._step(b""):
            yield received

    async def _step(self, order: bytes) -> AsyncGenerator[Received]:
        self.more = False
        looking = bool(order)
        begun = since = time.monotonic()
        mark = 0  # bytes received at `since`
        patience, longest = self._patience, self._order.settings.max_download_time
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        with contextlib.suppress(ConnectionError):  # the process is gone: reading its answer says so
            self._process.stdin.write(order + b"\n")
            await self._process.stdin.drain()
        while True:
            now = time.monotonic()
            until = begun + patience.looking if looking else min(begun + longest, since + patience.slow)
            if now >= until:
                raise self._late(begun, looking=looking)
            match await self._answer(until - now):
                case Received() as received:
                    if received.received - mark >= _LEAST:
                        since, mark = time.monotonic(), received.received
                    yield received
                case Looked(listing=listing, origin=origin):
                    self.listing, self.origin = listing, origin
                    return
                case Fetched(name=name, title=title):
                    self.media = Media(Path(self._order.folder) / name, title)
                    return
                case Failed(again=again, text=text):
                    raise Retry(text) if again else Reject(text)

    async def _answer(self, patience: float) -> Answer | None:
        """The next answer; None if none came within `patience` seconds."""
        assert self._process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        try:
            async with asyncio.timeout(patience):  # wait_for may lose a cancellation that comes with the line
                line = await self._process.stdout.readline()
        except TimeoutError:
            return None
        except ValueError:
            raise Reject(f"{self._url} is a list that is too long: submit it with a limit") from None
        if not line:
            code = await self._process.wait()
            raise _Died(f"{self._url} could not be downloaded: its process ended with code {code}")
        answer: Answer = _decode(line)
        self.more = not isinstance(answer, Received) and answer.more
        return answer

    def _late(self, begun: float, *, looking: bool) -> Reject | Retry:
        patience, longest = self._patience, self._order.settings.max_download_time
        if looking:
            return Retry(
                f"{self._url} did not show within {patience.looking / 60:g} minutes what it leads to: try again later, "
                "and submit a long list with a limit"
            )
        if time.monotonic() - begun >= longest:
            return Reject(
                f"{self._url} takes longer to download than the {longest / 3600:g} hours allowed: raise "
                "V2T_MAX_DOWNLOAD_TIME (seconds)"
            )
        return Retry(f"{self._url} has sent next to nothing for {patience.slow / 60:g} minutes: try again later")


class _Died(Retry):
    """The process ended before it answered."""


async def _started() -> Process:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(_PASSED_GROUPS) or name.lower().endswith("_proxy")
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "v2t_stream.fetch.fetch_child"),
        stdin=PIPE,
        stdout=PIPE,
        env=passed,
        limit=_LONGEST,
        start_new_session=True,  # so that Ctrl-C does not reach it, and it can be killed together with what it started
    )


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
