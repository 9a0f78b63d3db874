"""Decides what happens to a message whose work failed: a pure function."""

from typing import NamedTuple

from msgspec.structs import replace

from schemas.events import Tries
from v2t_stream.errors import Reject, Retry, V2TError
from v2t_stream.runtime.patience import Patience
from v2t_stream.topology.stages import StageRow


class Again(NamedTuple):
    """Try it again."""

    reason: str
    delay: float  # seconds
    tried: int  # tries so far, of the kind that counts here
    tries: Tries  # to note


class GivenUp(NamedTuple):
    """Make it a dead letter."""

    reason: str


def verdict(error: Exception, tries: Tries, row: StageRow, patience: Patience) -> Again | GivenUp:
    """Failures and waits without fault count separately, each with its own limit. `tries`: those before this one."""
    if isinstance(error, Reject):
        return GivenUp(str(error))
    reason = str(error) if isinstance(error, V2TError) else f"{type(error).__name__}: {error}"
    if isinstance(error, V2TError) and error.BLAMELESS:
        count, most = tries.waits + 1, patience.waits
        tries = replace(tries, waits=count)
    else:
        count, most = tries.failures + 1, row.tries
        tries = replace(tries, failures=count)
    if count >= most:
        return GivenUp(f"{reason} (given up after {count} tries)")
    if isinstance(error, Retry) and error.delay is not None:
        return Again(reason, error.delay, count, tries)
    return Again(reason, patience.backoff[min(count, len(patience.backoff)) - 1], count, tries)
