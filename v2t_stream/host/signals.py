"""What Ctrl-C, SIGTERM and the end of the terminal do to this process.

Loaded before anything else, so it imports nothing that takes time.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CURSOR = b"\x1b[?25h\n"  # shown again, where a progress bar has hidden it


def handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have `handler` called at these signals, except those that this process was started to ignore (nohup)."""
    for number in _ending():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """After the block, these signals do what they did before it."""
    before = {number: signal.getsignal(number) for number in _ending()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """While the block runs, these signals end this process at once."""
    with restored():
        handle(leave)
        yield


@contextlib.contextmanager
def left_to_child() -> Iterator[None]:
    """While the block runs, Ctrl-C is for the program that we wait for, such as an editor."""
    with restored():
        if _ending():
            signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the child would inherit
        yield


def _ending() -> tuple[signal.Signals, ...]:
    """The signals that may be handled here: none but in the main thread, where Python allows it."""
    return _ENDING if threading.current_thread() is threading.main_thread() else ()


def leave(number: int, _: FrameType | None = None) -> None:
    """End this process at once and without a traceback."""
    _write(_CURSOR)
    os._exit(exit_code(number))


def clear_echo(number: int) -> None:
    """Remove the ^C that the terminal has just written before what comes next."""
    if number == signal.SIGINT:
        _write(b"\r\x1b[K")


def _write(data: bytes) -> None:
    """Write to the terminal, if there is one. The monitor puts something without a descriptor in place of stderr."""
    with contextlib.suppress(OSError, ValueError):  # it is closed
        if sys.__stderr__ and sys.__stderr__.isatty():
            os.write(sys.__stderr__.fileno(), data)


def exit_code(number: int) -> int:
    """The exit code of a command that a signal ended, as a shell counts it."""
    return 128 + number
