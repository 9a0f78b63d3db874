"""Whether a `v2t up` keeps the broker of a data folder running, so that other commands need not stay for their jobs."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from v2t_stream.broker.locks import is_held, try_lock
from v2t_stream.errors import BrokerError
from v2t_stream.settings.home import make_folder

_PATIENCE: Final = 1.0  # seconds; others hold the lock for a moment to see whether it is free


@contextlib.contextmanager
def kept(home: Path) -> Iterator[None]:
    """While the block runs, other commands may rely on this one. Raises BrokerError if another already does that.

    The lock ends with this process, however that ends; its file stays and says nothing.
    """
    with _lock(make_folder(home, "broker").parent).open("w") as file:
        give_up = time.monotonic() + _PATIENCE
        while not try_lock(file.fileno()):
            if time.monotonic() > give_up:
                raise BrokerError(
                    f"v2t up already runs for {home}, and every command here uses it: stop that one first, or set "
                    "V2T_DATA_DIR to another folder"
                )
            time.sleep(0.02)
        yield


def is_kept(home: Path) -> bool:
    """Whether a `v2t up` runs for `home`."""
    try:
        return is_held(_lock(home))
    except OSError:  # another user's folder
        return False


def _lock(home: Path) -> Path:
    return home / "broker" / "up.lock"
