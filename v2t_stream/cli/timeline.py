"""The timeline of a job as lines of text, a bar for each step on a common axis."""

from collections.abc import Iterator

from v2t_stream.jobs.state import Job
from v2t_stream.jobs.timeline import Interval, timeline
from v2t_stream.text import one_line
from v2t_stream.units import counted, date, length, speed


def lines(job: Job, columns: int) -> Iterator[str]:
    """Lines of at most `columns`; none if the job's start is not known."""
    found = timeline(job)
    if found is None:
        return
    width = max(10, columns - 32)
    began = f"{'retried' if job.retries else 'submitted'} {date(found.start)}"
    yield f"{began}, {length(found.seconds)} to {'the end' if job.ended else 'its latest fact'}"
    for lane in found.lanes:
        share = lane.seconds / found.seconds if found.seconds else 0.0
        bar = _bar(lane.intervals, found.seconds, width)
        yield f"{lane.step:12}{length(lane.seconds):>10} {share:>5.0%}  {bar}".rstrip()
    for node in found.shares:
        times = f" ({speed(node.audio / node.seconds)})" if node.seconds > 0.01 else ""
        took = f"{length(node.audio)} of media in {length(node.seconds)}{times}"
        yield f"{one_line(node.node)}: {counted(node.chunks, 'chunk')}, {took}"


def _bar(intervals: tuple[Interval, ...], total: float, width: int) -> str:
    """A mark in each column that some of the time falls into."""
    marks = [" "] * width
    for begin, end in intervals:
        first = min(width - 1, int(begin / total * width))
        last = max(first + 1, min(width, round(end / total * width)))
        marks[first:last] = "█" * (last - first)
    return "".join(marks)
