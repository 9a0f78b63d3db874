"""What a benchmark gives, and the table of it."""

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table."""

    what: str
    target: str
    measured: str
    ok: bool | None = None  # None: told for information, without a target


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    verdict = {True: "ok", False: "**short**", None: ""}
    lines = [f"| {row.what} | {row.target} | {row.measured} | {verdict[row.ok]} |" for row in rows]
    return "\n".join(["| what | target | measured | |", "|---|---|---|---|", *lines])


def machine() -> str:
    """What the numbers were measured on, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def load() -> str:
    """How busy the machine is with everything, by the average over the last minute."""
    return f"load {os.getloadavg()[0]:.1f}"


def spread(values: Sequence[float], form: str = ".1f", unit: str = " s") -> str:
    """The median, and the least and the most where there are several."""
    text = f"{statistics.median(values):{form}}{unit}"
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


def say(text: str) -> None:
    """Tell the terminal how far it is; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  that is what it is for


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
