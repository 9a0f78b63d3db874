"""Locks on files, which end with the process that holds them."""

import fcntl
from pathlib import Path


def try_lock(file: int) -> bool:
    """Take the file's exclusive lock if it is free; closing the file releases it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether a process holds the file's exclusive lock. Raises OSError if the file cannot be read."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
