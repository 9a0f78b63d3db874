"""What comes through a pipe: it can be read only once, so it is saved before anything else happens."""

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from v2t_stream import units
from v2t_stream.errors import SettingsError
from v2t_stream.fetch.media import too_large
from v2t_stream.settings import Settings

STDIN: Final = "-"

_BLOCK: Final = 1 << 20  # bytes


async def save(source: Path, name: str, to: Path, settings: Settings, tell: Callable[[str], None]) -> None:
    """Copy all that comes from `source` into the file `to`, and `tell` how much that is so far.

    `name` is what sentences call it. Raises SettingsError if nothing comes, or more than `settings` allow.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    stopped = threading.Event()

    def finish(size: int, error: BaseException | None) -> None:
        if not done.done():
            if error:
                done.set_exception(error)
            else:
                done.set_result(size)

    def progress(size: int) -> None:
        if size > settings.max_bytes:
            raise SettingsError(too_large(name, size, settings))
        tell(units.size(size))

    def copy() -> None:
        size: int = 0
        failure: BaseException | None = None
        try:
            size = _copied(source, to, progress, stopped)
        except (OSError, SettingsError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the user has left
            loop.call_soon_threadsafe(finish, size, failure)

    # Nothing ends a read of a silent pipe, so leaving must not wait for it, as it would for a thread of asyncio's.
    threading.Thread(target=copy, daemon=True).start()
    try:
        size = await done
    except OSError as error:
        raise _unsaved(name, error, settings) from error
    finally:
        stopped.set()
    if not size:
        raise SettingsError(f"nothing came from {name}: check the command that should send it")


def _copied(source: Path, to: Path, progress: Callable[[int], None], stopped: threading.Event) -> int:
    """The bytes copied. Reads the descriptor itself: at the exit Python would wait for its own buffer's lock."""
    descriptor = os.dup(0) if str(source) == STDIN else os.open(source, os.O_RDONLY)
    size = 0
    try:
        with to.open("xb") as sink:
            while (block := os.read(descriptor, _BLOCK)) and not stopped.is_set():
                size += len(block)
                progress(size)
                sink.write(block)
    finally:
        os.close(descriptor)
    return size


def _unsaved(name: str, error: OSError, settings: Settings) -> SettingsError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SettingsError(
            f"the disk of {settings.node} is full, so {name} could not be saved: free space in {settings.home}"
        )
    return SettingsError(f"{name} cannot be read ({error.strerror}): check the command that should send it")
