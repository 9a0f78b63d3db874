"""What becomes of a message whose work has failed: a pure function."""

from typing import NamedTuple

from msgspec.structs import replace

from schemas.events import Tries
from v2t_stream.errors import Reject, Retry, V2TError
from v2t_stream.runtime.patience import Patience
from v2t_stream.topology.stages import StageRow


class Again(NamedTuple):
    """It is tried again."""

    reason: str
    delay: float  # seconds
    tried: int  # times so far, of the kind that counts here
    tries: Tries  # to be noted


class GivenUp(NamedTuple):
    """It becomes a dead letter."""

    reason: str


def verdict(error: Exception, tries: Tries, row: StageRow, patience: Patience) -> Again | GivenUp:
    """Failures and blameless waits are counted apart, and each has its own limit. `tries`: those before this one."""
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
