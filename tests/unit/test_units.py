"""Numbers in words."""

import pytest

from v2t_stream.units import ago, clock, counted, date, length, moment, size, speed


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (4.2, "4.2 s"), (192, "3 min 12 s"), (3600, "1 h"), (3723, "1 h 2 min")],
)
def test_a_length_of_time_is_in_words(seconds: float, said: str) -> None:
    """Else the reader of 192.34112 divides by sixty."""
    assert length(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "just now"), (0.4, "just now"), (59.9, "59 s ago"), (119, "1 min ago"), (7199, "1 h ago"), (7200, "2 h ago")],
)
def test_how_long_ago_is_never_rounded_up(seconds: float, said: str) -> None:
    """Else a job of a minute ago is as old as one of two; or a clock that is a little late gives -5 s."""
    assert ago(seconds) == said


def test_what_is_long_ago_has_a_date() -> None:
    """Else "243 d ago" is looked up in a calendar."""
    assert moment(1_000_000, now=1_000_000 + 7200) == "2 h ago"
    assert moment(1_000_000, now=1_000_000 + 200_000) == date(1_000_000)


def test_sizes_speeds_and_counts_have_their_units() -> None:
    """Else 13214208 bytes are counted by their digits."""
    assert [size(bytes_) for bytes_ in (1, 412, 3100, 13_214_208, 1_250_000_000)] == [
        "1 byte",
        "412 bytes",
        "3.1 kB",
        "13.2 MB",
        "1.25 GB",
    ]
    assert [speed(times) for times in (None, 0.0, 4.24, 17.9)] == ["", "", "4.2x", "18x"]
    assert [counted(1, "chunk"), counted(2, "chunk"), counted(0, "retry", "retries")] == [
        "1 chunk",
        "2 chunks",
        "0 retries",
    ]
    assert [clock(61), clock(3723)] == ["01:01", "1:02:03"]
