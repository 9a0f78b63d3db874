"""The process links are fetched in, one after another: `python -m v2t_stream.fetch.fetch_child`.

It loads yt-dlp, then reads lines of JSON from its standard input: an Order, and after it has looked, an empty line
where it is to download too. It writes lines of JSON to its standard output: Received while it works, then Looked,
Fetched or Failed, with the word whether another Order may follow. It ends when its input does, that is with its parent,
however that ended.
"""

import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Final

import msgspec

from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.guard import Guard
from v2t_stream.fetch.link import Fetch, Listing
from v2t_stream.settings import Settings

MEMORY: Final = 2 << 30  # bytes; an endless page would have all there is
LINKS: Final = 30  # in one process: whatever yt-dlp holds on to of them goes with it
_OWN_THREADS: Final = 2  # the main one and the one that listens
_TELL_EVERY: Final = 0.5  # seconds
_SLACK: Final = 1 << 20  # bytes a file may have over the limit, so that the limit's own sentence is told


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """As for Fetch."""

    url: str
    folder: str
    settings: Settings
    place: int | None = None
    limit: int | None = None


class Received(msgspec.Struct, frozen=True, tag=True):
    received: int  # bytes
    expected: float | None


class Looked(msgspec.Struct, frozen=True, tag=True):
    listing: Listing | None
    origin: str
    more: bool = False  # whether the process can go on with another link; as below


class Fetched(msgspec.Struct, frozen=True, tag=True):
    name: str  # of the file in the folder
    title: str
    more: bool = False


class Failed(msgspec.Struct, frozen=True, tag=True):
    again: bool  # whether it may succeed later
    text: str
    more: bool = False


Answer = Received | Looked | Fetched | Failed


def main() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)  # the parent decides when we end
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # out of reach of any library that prints
    # libcurl's connections are none that the guard sees, so yt-dlp must not find it.
    sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # what the import system takes for "not there"
    import yt_dlp  # noqa: F401, PLC0415  # takes half a second, of which the order that comes should find nothing

    gc.freeze()  # so that what is loaded is not looked through after each link
    guard = Guard()
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    line = lines.get()
    for left in reversed(range(LINKS)):
        order = msgspec.json.decode(line, type=Order)
        _limit(order.settings)
        guard.turn_to(order.url, order.settings.allow_addresses)
        line = _fetch(order, lines, answers, last=not left)


def _limit(settings: Settings) -> None:
    """What the process may take in all, for what no limit of yt-dlp's covers."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)  # which stays, as the next link may be allowed more
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(settings.max_bytes) + _SLACK, most))
    if sys.platform == "linux":  # elsewhere it is not heeded
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _listen(lines: SimpleQueue[bytes]) -> None:
    while line := sys.stdin.buffer.readline():
        lines.put(line.strip())
    os._exit(0)


def _fetch(order: Order, lines: SimpleQueue[bytes], answers: IO[bytes], *, last: bool) -> bytes:
    """Do what is ordered; returns the order that follows."""
    fetch = Fetch(order.url, Path(order.folder), order.settings, place=order.place, limit=order.limit)
    telling = _Telling(fetch, answers, last=last)
    telling.tell(fetch.look, lambda: Looked(fetch.listing, fetch.origin))
    line = lines.get()
    if line:
        return line
    telling.tell(fetch.download, lambda: Fetched(fetch.media.path.name, fetch.media.title))
    return lines.get()


class _Telling:
    """The steps of a fetch, and what the parent hears of it."""

    def __init__(self, fetch: Fetch, answers: IO[bytes], *, last: bool) -> None:
        self._fetch = fetch
        self._answers = answers
        self._last = last
        self._ended = threading.Event()

    def tell(self, step: Callable[[], None], done: Callable[[], Looked | Fetched]) -> None:
        """Run the step and write how far it is, then what came of it; ends the process where no more can follow."""
        self._ended.clear()
        telling = threading.Thread(target=self._tell_of_progress)
        telling.start()
        answer: Looked | Fetched | Failed
        try:
            step()
            answer = done()
        except (Reject, Retry) as error:
            answer = Failed(isinstance(error, Retry), str(error))
        self._ended.set()
        telling.join()
        more = not self._last and _is_clean()
        self._write(msgspec.structs.replace(answer, more=more))
        if not more and not isinstance(answer, Looked):
            os._exit(0)  # whatever threads and connections are left

    def _tell_of_progress(self) -> None:
        told = 0
        while not self._ended.wait(_TELL_EVERY):
            if self._fetch.received != told:
                told = self._fetch.received
                self._write(Received(told, self._fetch.expected))

    def _write(self, answer: Answer) -> None:
        try:
            self._answers.write(msgspec.json.encode(answer) + b"\n")
            self._answers.flush()
        except OSError:
            os._exit(0)  # the parent is gone, as _listen hears at the same time


def _is_clean() -> bool:
    """Whether nothing is left running of what was fetched, which could take the next link for its own."""
    gc.collect()  # what a download that failed has left open: else it would hold its disk space
    return threading.active_count() == _OWN_THREADS


if __name__ == "__main__":
    main()
