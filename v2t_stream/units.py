"""Numbers with their units, as people read them: the same words on every screen."""

import time
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def clock(seconds: float) -> str:
    """A place in a recording, as 1:02:03 or 02:03."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def length(seconds: float) -> str:
    """A length of time: 1 h 2 min, 3 min 12 s, or 4.2 s."""
    if seconds < _MINUTE:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    parts = {"h": hours, "min": minutes, "s": 0 if hours else rest}
    return " ".join(f"{number} {unit}" for unit, number in parts.items() if number)


def speed(times: float | None) -> str:
    """Seconds of media per second of work, such as 42x or 4.2x; empty if it is not known."""
    if not times:
        return ""
    return f"{times:.0f}x" if times >= 10 else f"{times:.1f}x"


def size(count: float) -> str:
    """A number of bytes: 412 bytes, 3.1 kB, 13.2 MB, 1.25 GB."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    if count >= 1e6:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1e3 else counted(round(count), "byte")


def counted(number: int, one: str, many: str = "") -> str:
    """Such as 1 chunk, 2 chunks."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def ago(seconds: float) -> str:
    """How long ago something was: just now, 40 s ago, 12 min ago, 2 h ago, 3 d ago."""
    for unit, whole in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= whole:
            return f"{int(seconds // whole)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 1 else "just now"  # two clocks may differ


def date(at: float) -> str:
    """Unix seconds as a local date: 2026-03-01 14:05."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def moment(at: float, now: float | None = None) -> str:
    """How long ago it was, and from two days on the local date."""
    passed = (time.time() if now is None else now) - at
    return ago(passed) if passed < 2 * _DAY else date(at)
