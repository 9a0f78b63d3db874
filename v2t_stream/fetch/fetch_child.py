"""The process that fetches links, one after another: `python -m v2t_stream.fetch.fetch_child`.

It loads yt-dlp, then reads lines of JSON from its standard input: an Order, and after it has looked, an empty line if
it is to download too. It writes lines of JSON to its standard output: Received while it works, then Looked, Fetched or
Failed, which say whether another Order may follow. It ends when its input ends, so also when its parent was killed.
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
from typing import IO, TYPE_CHECKING, Final

import msgspec

from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.guard import Guard
from v2t_stream.fetch.messages import Answer, Failed, Fetched, Looked, Order, Received
from v2t_stream.settings import Settings

if TYPE_CHECKING:
    from v2t_stream.fetch.link import Fetch

MEMORY: Final = 2 << 30  # bytes; an endless page would take all there is
LINKS: Final = 30  # then the process ends, and with it whatever yt-dlp has kept of them
_OWN_THREADS: Final = 2  # the main one and the one that listens
_REPORT_EVERY: Final = 0.5  # seconds
_SLACK: Final = 1 << 20  # bytes that a file may exceed its limit by, so that the limit's own sentence comes first


def main() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)  # the parent decides when we end
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # out of reach of any library that prints
    from v2t_stream.fetch.link import Fetch  # noqa: PLC0415  # loads yt-dlp, which takes half a second: before an order comes

    gc.freeze()  # what is loaded stays, and need not be searched after each link
    guard = Guard()
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    line = lines.get()
    for left in reversed(range(LINKS)):
        order = msgspec.json.decode(line, type=Order)
        _limit(order.settings)
        guard.turn_to(order.url, order.settings.allow_addresses)
        fetch = Fetch(order.url, Path(order.folder), order.settings, place=order.place, limit=order.limit)
        line = _fetch(fetch, lines, _Reporting(fetch, answers, last=not left))


def _limit(settings: Settings) -> None:
    """Limit the memory and the files of this process, including what yt-dlp itself does not limit."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)  # keep the hard limit: the next link may be allowed more
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(settings.max_bytes) + _SLACK, most))
    if sys.platform == "linux":  # other systems ignore it
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _listen(lines: SimpleQueue[bytes]) -> None:
    while line := sys.stdin.buffer.readline():
        lines.put(line.strip())
    os._exit(0)


def _fetch(fetch: "Fetch", lines: SimpleQueue[bytes], reporting: "_Reporting") -> bytes:
    """Do what was ordered; returns the next order."""
    reporting.run(fetch.look, lambda: Looked(fetch.listing, fetch.origin))
    line = lines.get()
    if line:
        return line
    reporting.run(fetch.download, lambda: Fetched(fetch.media.path.name, fetch.media.title))
    return lines.get()


class _Reporting:
    """Runs the steps of a fetch, and reports to the parent."""

    def __init__(self, fetch: "Fetch", answers: IO[bytes], *, last: bool) -> None:
        self._transfer = fetch.transfer
        self._answers = answers
        self._last = last
        self._ended = threading.Event()

    def run(self, step: Callable[[], None], done: Callable[[], Looked | Fetched]) -> None:
        """Run the step and report its progress, then its outcome; ends the process if no other step can follow."""
        self._ended.clear()
        progress = threading.Thread(target=self._report_progress)
        progress.start()
        answer: Looked | Fetched | Failed
        try:
            step()
            answer = done()
        except (Reject, Retry) as error:
            answer = Failed(isinstance(error, Retry), str(error))
        self._ended.set()
        progress.join()
        more = not self._last and _is_clean()
        self._write(msgspec.structs.replace(answer, more=more))
        if not more and not isinstance(answer, Looked):
            os._exit(0)  # whatever threads and connections are left

    def _report_progress(self) -> None:
        reported = 0
        while not self._ended.wait(_REPORT_EVERY):
            if self._transfer.received != reported:
                reported = self._transfer.received
                self._write(Received(reported, self._transfer.expected))

    def _write(self, answer: Answer) -> None:
        try:
            self._answers.write(msgspec.json.encode(answer) + b"\n")
            self._answers.flush()
        except OSError:
            os._exit(0)  # the parent is gone, as _listen hears at the same time


def _is_clean() -> bool:
    """Whether no thread of this link is still running, which could act on the next one."""
    gc.collect()  # closes what a failed download left open, which would hold its disk space
    return threading.active_count() == _OWN_THREADS


if __name__ == "__main__":
    main()
