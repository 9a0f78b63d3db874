"""How long a worker waits for what. Tests pass in less."""

from typing import NamedTuple


class Patience(NamedTuple):
    """Seconds, where nothing else is said."""

    backoff: tuple[float, ...] = (1.0, 5.0, 15.0, 60.0)  # until the next try, by tries so far; the last for all later
    waits: int = 12  # times that a message may find what it needs away or taken, which is no failure of it
    foreign: float = 10.0  # that what another release may read is left to its nodes
    restart: float = 3.0  # that a process of ours needs to end and to be there again
    store_pauses: tuple[float, ...] = (1.0, 2.0, 5.0)  # between two tries while the object store is away; the last ones
    store_away: float = 600.0  # that work waits for the store here, before another node may try
    drain: float = 20.0  # that work in hand may take after a stop was asked for
    leave: float = 2.0  # in which work that is cancelled must end
    hung: float = 60.0  # and work that took too long, whose thread may be in the middle of something
