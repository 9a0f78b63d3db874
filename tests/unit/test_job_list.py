"""Which jobs are listed, and what people read of them."""

import time
from typing import Any

import click
import pytest
from msgspec.structs import replace

from schemas.events import Cancelled, Completed, Downloaded, Listed
from schemas.message import Message, encode
from tests.builders import chunk, completed, converted, downloaded, failed, rerun, submitted
from v2t_stream.broker.requests import Stored
from v2t_stream.cli.job_list import Since, durations
from v2t_stream.cli.job_view import print_jobs, print_summary
from v2t_stream.jobs.progress import describe
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.summary import summary
from v2t_stream.jobs.wanted import Wanted

LONG = "An episode that is called by all that is said in it " * 12


def media(job: str) -> Downloaded:
    return downloaded(job, source=f"https://x/{job}.mp3")


def done(job: str, **more: Any) -> Completed:
    return completed(job, transcript=f"transcripts/{more.get('of', job)}/transcript", language="en", **more)


FACTS: list[Message] = [
    *(submitted("a"), media("a")),
    *(converted("a", duration=192), chunk(job="a")),
    done("a", segments=1),
    *(submitted("b", url="https://x/b.mp3"), done("b", segments=1, of="a")),
    *(submitted("c", title=LONG), failed("c")),
    *(submitted("l"), Listed(job="l", title="A podcast", children=1)),
    *(submitted("l_1", title="one", parent="l"), done("l_1", segments=1, of="a")),
    Cancelled(job="gone", removed=True),
]


@pytest.fixture
def jobs() -> dict[str, Job]:
    at = time.time() - 7200
    return fold_all(Stored(fact.subject, encode(fact), n, at + n) for n, fact in enumerate(FACTS, 1))


def test_a_job_that_was_done_before_has_the_length_of_its_media(
    jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    """Else its line is empty where all others say how long the recording is."""
    assert durations(jobs) == {"a": 192, "b": 192}
    known = done("n", of="a", duration=192)
    (job,) = fold_all([Stored(known.subject, encode(known), 1, 1.0)]).values()
    assert job.duration == 192  # even when the job that did it has been forgotten
    print_jobs([jobs["b"]], durations(jobs))
    assert "3 min 12 s" in capsys.readouterr().out


def test_each_job_is_one_line_and_the_title_is_last(jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]) -> None:
    """Else a script cannot read the list, or one title makes it as wide as a wall."""
    print_jobs([jobs[id_] for id_ in ("a", "c", "l")], durations(jobs))
    header, a, c, a_list = capsys.readouterr().out.splitlines()
    assert header.split() == ["job", "state", "language", "length", "took", "submitted", "title"]
    assert len(a) < 80
    assert a.split()[:2] == ["a", "completed"]
    assert c.endswith("…")
    assert a_list.endswith("  A podcast (1 of 1 completed)")


@pytest.mark.parametrize(
    ("text", "age"), [("90s", 90), ("30 min", 1800), ("30m", 1800), ("2h", 7200), ("1.5d", 129_600)]
)
def test_an_age_is_read(text: str, age: float) -> None:
    """Else `--since 2h` has to be computed by its user."""
    assert Since().convert(text, None, None) == pytest.approx(time.time() - age, abs=10)


def test_a_date_is_read_and_a_wrong_one_is_refused_with_an_example() -> None:
    """Else a typing error lists everything, or nothing."""
    assert Since().convert("2026-03-01", None, None) == time.mktime((2026, 3, 1, 0, 0, 0, 0, 0, -1))
    with pytest.raises(
        click.BadParameter, match="neither an age such as 30min, 2h or 3d nor a date such as 2026-03-01"
    ):
        Since().convert("yesterday", None, None)


def test_the_filters_find_what_they_name(jobs: dict[str, Job]) -> None:
    """Else a user scrolls through ten thousand jobs."""
    assert [id_ for id_, job in jobs.items() if Wanted(text="podcast").matches(job)] == ["l"]
    assert [id_ for id_, job in jobs.items() if Wanted(text="x/b.mp3").matches(job)] == ["b"]
    assert [id_ for id_, job in jobs.items() if Wanted().matches(job)] == ["a", "b", "c", "l"]  # not what was removed
    assert not [id_ for id_, job in jobs.items() if Wanted(since=time.time() - 60).matches(job)]
    assert [id_ for id_, job in jobs.items() if Wanted(("failed", "running")).is_in_state(job)] == ["c"]


def test_a_retried_job_took_as_long_as_its_retry(jobs: dict[str, Job]) -> None:
    """Else a retry after a week took a week, at 0.0x."""
    job = jobs["a"]
    ended = job.ended_at or 0.0
    assert job.took == pytest.approx(4)
    again = rerun(media("a"))
    job.apply(Stored(again.subject, encode(again), 100, ended + 600_000))
    end = replace(done("a", duration=192.0), run=1)
    job.apply(Stored(end.subject, encode(end), 101, ended + 600_009))
    assert job.took == pytest.approx(9)
    assert describe(job)[1].endswith(" in 9 s (21x)")


def test_a_status_is_for_people(jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]) -> None:
    """Else it shows 1780000000.123 and 192.0, and the reader needs a calculator."""
    job = jobs["a"]
    told = {"options": {"model": "small"}, "warning": "", "caveats": ["one", "two"], "unread": []}
    print_summary(job, summary(job) | told, 192.0)
    lines = capsys.readouterr().out.splitlines()
    assert "length      3 min 12 s" in lines
    assert any(line.startswith("submitted   20") and line.endswith(" (1 h ago)") for line in lines)
    assert any(line.startswith("ended       20") and line.endswith(", after 4 s (48x)") for line in lines)
    assert lines[-2:] == ["caveats     one", "            two"]
    assert not any(line.startswith(("started_at", "decoded", "gaps", "eta")) for line in lines)
