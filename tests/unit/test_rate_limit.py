"""The rate limit, with a clock of the test's own."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.transcription.rate_limit import RateLimit


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=80))
def test_no_minute_holds_more_calls_than_allowed(limit: int, pauses: list[float]) -> None:
    """Else the service answers 429, or bills the user for more than expected."""
    rate, now, starts = RateLimit(limit), 0.0, []
    for pause in pauses:
        now += pause
        starts.append(now + rate.take(now))
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(starts))
    for first, later in zip(starts, starts[limit:], strict=False):
        assert later - first >= 60 - 1e-6


@given(st.integers(1, 20), st.integers(1, 60))
def test_calls_within_the_limit_do_not_wait(limit: int, calls: int) -> None:
    """Else a limit nobody reaches slows every job."""
    rate = RateLimit(limit)
    waits = [rate.take(0.0) for _ in range(calls)]
    assert waits == [60.0 * (n // limit) for n in range(calls)]


def test_none_is_no_limit() -> None:
    """Else a provider without a limit stands still."""
    rate = RateLimit(0)
    assert [rate.take(0.0) for _ in range(1000)] == [0.0] * 1000
