"""How long the provider chain waits. Tests use shorter times."""

from typing import Final, NamedTuple


class Patience(NamedTuple):
    """Seconds."""

    backoff: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)  # until the next try, by tries so far; then the last one
    minute: float = 60.0  # in which a provider's rate limit counts its calls
    brief: float = 20.0  # a chunk waits for a provider's limits if another provider can follow
    long: float = 900.0  # and if none can; half of what a chunk may take in all
    away: float = 300.0  # the longest time a chunk is kept from other machines
    elsewhere: float = 30.0  # until a chunk that no provider here can do is offered again
    # A chunk waits for its model, less than it may take in all; then it is redelivered and goes on waiting.
    model: float = 1200.0


DEFAULT: Final = Patience()
