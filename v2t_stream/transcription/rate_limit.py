"""A sliding-window limit: at most N calls in any 60 seconds."""

from collections import deque

_MINUTE = 60.0


class RateLimit:
    """Pure: the caller passes the time, in seconds of a monotonic clock, and does the waiting."""

    def __init__(self, per_minute: int) -> None:
        """0: no limit."""
        self._starts: deque[float] = deque(maxlen=per_minute)

    def wait(self, now: float) -> float:
        """Seconds until the next call may start."""
        full = self._starts.maxlen and len(self._starts) == self._starts.maxlen
        return max(0.0, self._starts[0] + _MINUTE - now) if full else 0.0

    def take(self, now: float) -> float:
        """Reserve the next call; returns the seconds until it may start."""
        wait = self.wait(now)
        self._starts.append(now + wait)
        return wait
