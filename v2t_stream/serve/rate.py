"""How often each key may ask: a token bucket for each, in this process alone."""

from typing import Final

_MINUTE: Final = 60.0  # seconds


class Rates:
    """Several servers behind one address each grant the whole limit: counting together would cost a write each time."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}  # by key: what is left, and when that was so

    def wait(self, key: str, limit: int, now: float) -> float:
        """Take one of `limit` requests a minute; returns 0, or the seconds until there is one again.

        `now`: seconds of any steady clock.
        """
        left, at = self._buckets.get(key, (float(limit), now))
        left = min(float(limit), left + (now - at) * limit / _MINUTE)
        if left < 1:
            self._buckets[key] = (left, now)
            return (1 - left) * _MINUTE / limit
        self._buckets[key] = (left - 1, now)
        return 0.0

    def forget(self, key: str) -> None:
        self._buckets.pop(key, None)
