"""The timeline of a job as lines of text, a bar for each step on a common axis."""

import time
from collections.abc import Iterator

from v2t_stream.jobs.progress import clock
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.timeline import Interval, timeline
from v2t_stream.text import one_line


def lines(job: Job, columns: int) -> Iterator[str]:
    """Lines of at most `columns`; none if the job's start is not known."""
    found = timeline(job)
    if found is None:
        return
    width = max(10, columns - 32)
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.start))
    began = f"{'retried' if job.retries else 'submitted'} {began}"
    yield f"{began}, {_seconds(found.seconds)} to {'the end' if job.ended else 'its latest fact'}"
    for lane in found.lanes:
        share = lane.seconds / found.seconds if found.seconds else 0.0
        bar = _bar(lane.intervals, found.seconds, width)
        yield f"{lane.step:12}{_seconds(lane.seconds):>10} {share:>5.0%}  {bar}".rstrip()
    for node in found.shares:
        speed = f" ({node.audio / node.seconds:.1f}x)" if node.seconds > 0.01 else ""
        took = f"{clock(node.audio)} of media in {_seconds(node.seconds)}{speed}"
        yield f"{one_line(node.node)}: {node.chunks} chunk{'s' * (node.chunks > 1)}, {took}"


def _bar(intervals: tuple[Interval, ...], total: float, width: int) -> str:
    """A mark in each column that some of the time falls into."""
    marks = [" "] * width
    for begin, end in intervals:
        first = min(width - 1, int(begin / total * width))
        last = max(first + 1, min(width, round(end / total * width)))
        marks[first:last] = "█" * (last - first)
    return "".join(marks)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else clock(seconds)
