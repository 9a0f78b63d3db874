"""A clock that is wrong, for a whole process and its children.

There is no way to give one process another time of day without a compiler or a library, so Python's own ways of asking
for it are replaced before anything else is imported; that is all that this program, and what it imports, asks.
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
