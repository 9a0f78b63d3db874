"""What stands above the words of a job: what it is, how far it is, and what is wrong with it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.style import Style
from rich.text import Text

from tui.state.holds import Hold
from tui.widgets.look import Look
from v2t_stream.jobs.progress import describe
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line
from v2t_stream.units import length


class Spoken(NamedTuple):
    """How long one of the speakers speaks."""

    name: str
    seconds: float
    style: Style


def head(job: Job, shown: Job, spoken: Sequence[Spoken], styles: Look) -> Text:
    """Four lines, and one more if it is known who speaks.

    `shown`: the job whose words are shown, which an earlier job may have done.
    """
    head = Text()
    head.append(f"{job.state}  ", styles.of_state(job.state))
    head.append(one_line(job.title) or job.id, styles.bold)
    head.append(f"\n{job.id}  {one_line(job.source)}", styles.dim)
    head.append("\n" + "  ·  ".join(_facts(job)), styles.plain)
    head.append("\n" + ("  ·  ".join(_timings(shown)) or "nothing done yet"), styles.dim)
    if spoken:
        head.append("\nspeakers  " if job.ended else "\nspeakers so far  ", styles.dim)
        for n, each in enumerate(spoken):
            head.append(", " if n else "", styles.dim)
            head.append(each.name, each.style)
            head.append(f" {length(each.seconds)}", styles.plain)
    return head


def remarks(job: Job, hold: Hold | None, caveats: Iterable[str], styles: Look) -> Text:
    """Why it failed, what holds it up, and what its transcript lacks: a line for each."""
    lines = [Text(caveat, styles.warn) for caveat in caveats]
    if hold:
        lines.insert(0, Text(one_line(hold.sentence), styles.plain if hold.passes else styles.warn))
    if job.reason:
        lines.insert(0, Text(one_line(job.reason), styles.bad))
    return Text("\n").join(lines)


def _facts(job: Job) -> Iterator[str]:
    _, how_far = describe(job)
    if how_far:
        yield one_line(how_far)
    language = (job.completed and job.completed.language) or (job.language and job.language.language)
    unknown = "not known" if job.ended else "not known yet"
    yield f"language {language or job.options.language or unknown}"
    if job.retries:
        yield f"retried {job.retries}x"


def _timings(job: Job) -> Iterator[str]:
    if job.downloaded:
        yield f"download {job.downloaded.seconds:.1f} s"
    if job.converted:
        yield f"convert {job.converted.seconds:.1f} s"
    if done := [chunk for chunk in job.chunks.values() if not chunk.error]:
        yield f"engine {sum(chunk.seconds for chunk in done):.1f} s"
        yield one_line(", ".join(dict.fromkeys(f"{chunk.engine} {chunk.model}".strip() for chunk in done)), 80)
    if job.started_at and job.ended_at:
        yield f"total {job.ended_at - job.started_at:.1f} s"
