"""Which jobs a list shows, for `v2t job list` and the HTTP API."""

import re
import time
from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple, get_args

from v2t_stream.jobs.state import Job, State

_RUNNING: Final = "running"
STATES: Final = (_RUNNING, *get_args(State))
_AT_WORK: Final = ("downloading", "listed", "converting", "transcribing")
_SECONDS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Wanted(NamedTuple):
    """What somebody looks for."""

    states: Collection[str] = ()  # of STATES; empty: all
    since: float | None = None  # Unix seconds
    text: str = ""  # in the title or the link, casefolded

    def matches(self, job: Job) -> bool:
        """Whether it is a job that was not removed, and all but its state fits."""
        if job.removed or (self.since is not None and (job.started_at or 0.0) < self.since):
            return False
        return not self.text or self.text in f"{job.title}\n{job.source}".casefold()

    def is_in_state(self, job: Job) -> bool:
        return not self.states or job.state in self.states or (_RUNNING in self.states and job.state in _AT_WORK)


def since_of(text: str) -> float:
    """An age such as 2h or 3d, or a local date, as Unix seconds. Raises ValueError."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|m|h|d|w)", text.strip()):
        return time.time() - float(found[1]) * _SECONDS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither an age such as 30min, 2h or 3d nor a date such as 2026-03-01") from None
