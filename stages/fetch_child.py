"""The process one link is fetched in: `python -m stages.fetch_child`, started by stages.fetch_host.

It loads yt-dlp, then reads lines of JSON from its standard input: an Order, and after it has looked, an empty line
where it is to download too. It writes lines of JSON to its standard output: Received while it works, then Looked,
Fetched or Failed. It ends when its input does, that is with its parent, however that ended.
"""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec

from stages import guard
from stages.fetch import Fetch, Listing
from v2t_stream.errors import Reject, Retry
from v2t_stream.settings import Settings

MEMORY: Final = 2 << 30  # bytes; an endless page would have all there is
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


class Fetched(msgspec.Struct, frozen=True, tag=True):
    name: str  # of the file in the folder
    title: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    again: bool  # whether it may succeed later
    text: str


Answer = Received | Looked | Fetched | Failed


def main() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)  # the parent decides when we end
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # out of reach of any library that prints
    # libcurl's connections are none that the guard sees, so yt-dlp must not find it.
    sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # what the import system takes for "not there"
    import yt_dlp  # noqa: F401, PLC0415  # takes half a second, of which the order that comes should find nothing

    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = msgspec.json.decode(line, type=Order)
    _limit(order.settings)
    guard.install(order.url, order.settings.allow_addresses)
    fetch = Fetch(order.url, Path(order.folder), order.settings, place=order.place, limit=order.limit)
    orders = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    _Telling(fetch, answers).tell(fetch.look, lambda: Looked(fetch.listing, fetch.origin))
    orders.acquire()
    _Telling(fetch, answers).tell(fetch.download, lambda: Fetched(fetch.media.path.name, fetch.media.title))


def _limit(settings: Settings) -> None:
    """What the process may take in all, for what no limit of yt-dlp's covers."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(settings.max_bytes) + _SLACK,) * 2)
    if sys.platform == "linux":  # elsewhere it is not heeded
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _listen(orders: threading.Semaphore) -> None:
    while sys.stdin.buffer.readline():
        orders.release()
    os._exit(0)


class _Telling:
    """One step of a fetch, and what the parent hears of it."""

    def __init__(self, fetch: Fetch, answers: IO[bytes]) -> None:
        self._fetch = fetch
        self._answers = answers
        self._ended = threading.Event()

    def tell(self, step: Callable[[], None], done: Callable[[], Answer]) -> None:
        """Run the step and write how far it is, then what came of it; ends the process where it failed."""
        telling = threading.Thread(target=self._tell_of_progress)
        telling.start()
        answer: Answer
        try:
            step()
            answer = done()
        except (Reject, Retry) as error:
            answer = Failed(isinstance(error, Retry), str(error))
        self._ended.set()
        telling.join()
        self._write(answer)
        if isinstance(answer, Failed):
            os._exit(0)  # whatever threads and connections are left

    def _tell_of_progress(self) -> None:
        told = 0
        while not self._ended.wait(_TELL_EVERY):
            if self._fetch.received != told:
                told = self._fetch.received
                self._write(Received(told, self._fetch.expected))

    def _write(self, answer: Answer) -> None:
        self._answers.write(msgspec.json.encode(answer) + b"\n")
        self._answers.flush()


if __name__ == "__main__":
    main()
