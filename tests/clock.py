"""A wrong clock for a whole process and its children.

Giving one process another time of day needs a compiler or a library. So this replaces Python's own functions before
anything else is imported; this program and its imports use no other clock.
"""

from pathlib import Path

_SITE = """
import datetime, time

_now, _now_ns = time.time, time.time_ns
time.time = lambda: _now() + {seconds}
time.time_ns = lambda: _now_ns() + {seconds} * 10**9


class _Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)


datetime.datetime = _Shifted
"""


def wrong_by(seconds: int, folder: Path) -> dict[str, str]:
    """The environment with which a process is `seconds` ahead, or behind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.format(seconds=seconds))
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[1]}"}
