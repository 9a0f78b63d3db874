"""So many a minute, and no more in any minute."""

from collections import deque

_MINUTE = 60.0


class RateLimit:
    """Pure: the caller brings the time, in seconds of a clock that never goes back, and does the waiting."""

    def __init__(self, per_minute: int) -> None:
        """0: no limit."""
        self._starts: deque[float] = deque(maxlen=per_minute)

    def wait(self, now: float) -> float:
        """Seconds until the next call may start."""
        full = self._starts.maxlen and len(self._starts) == self._starts.maxlen
        return max(0.0, self._starts[0] + _MINUTE - now) if full else 0.0

    def take(self, now: float) -> float:
        """Book the next call: the seconds until it may start."""
        wait = self.wait(now)
        self._starts.append(now + wait)
        return wait
