"""How long a worker waits for things, and how much may wait for it. Tests use shorter times."""

from typing import NamedTuple


class Patience(NamedTuple):
    """Seconds, unless noted."""

    backoff: tuple[float, ...] = (1.0, 5.0, 15.0, 60.0)  # until the next try, by tries so far; then the last one
    waits: int = 12  # times a message may find what it needs missing or taken; not failures
    foreign: float = 10.0  # a message is left to nodes of another release that may read it
    restart: float = 3.0  # one of our processes needs to end and start again
    store_pauses: tuple[float, ...] = (1.0, 2.0, 5.0)  # between tries while the object store is away
    store_away: float = 600.0  # work waits here for the store before another node may try
    drain: float = 20.0  # current work may take after a request to stop
    leave: float = 2.0  # cancelled work may take to end
    hung: float = 60.0  # and overdue work, whose thread may be in the middle of something
    held: int = 32  # jobs whose chunks a process may hold back; a ten-hour one takes 3 MB
