"""Limits the free memory that a long-running process keeps."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # glibc's malloc.h
_ARENAS: Final = 2


def share_heaps() -> None:
    """Make all threads share two heaps. Call it before the first thread starts.

    glibc makes a heap for each thread, up to eight per core, and returns none: a process that decoded in one thread
    after another grew by a fifth over some thousand files. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, _ARENAS)
