"""A sliding-window limit: at most N calls in any minute."""

from collections import deque


class RateLimit:
    """Pure: the caller passes the time, in seconds of a monotonic clock, and does the waiting."""

    def __init__(self, per_minute: int, minute: float = 60.0) -> None:
        """`per_minute`: 0 for no limit. `minute`: its seconds."""
        self._minute = minute
        self._starts: deque[float] = deque(maxlen=per_minute)

    def wait(self, now: float) -> float:
        """Seconds until the next call may start."""
        full = self._starts.maxlen and len(self._starts) == self._starts.maxlen
        return max(0.0, self._starts[0] + self._minute - now) if full else 0.0

    def take(self, now: float) -> float:
        """Reserve the next call; returns the seconds until it may start."""
        wait = self.wait(now)
        self._starts.append(now + wait)
        return wait
