"""Titles as long as a page: some sites have the whole description there."""

import pytest

from schemas.events import Submitted
from schemas.message import encode
from schemas.requests import SubmitRequest
from stages import intake
from v2t_stream.broker.requests import Stored
from v2t_stream.cli.job_view import print_table
from v2t_stream.jobs.state import Job, fold


def job(title: str) -> Job:
    fact = Submitted(job="job", title=title, url="https://a.example/1")
    return fold("job", [Stored(fact.subject, encode(fact), 1, 0.0)])


def test_a_job_keeps_the_beginning_of_a_title() -> None:
    """The title of one job fills the monitor, and every message about it."""
    url = "https://a.example/1"
    fact = intake._submitted("job", SubmitRequest(url=url, title="x" * 4000))
    assert len(fact.title) == 200
    assert fact.is_titled
    assert not intake._submitted("job", SubmitRequest(url=url)).is_titled  # the medium may have a better one


def test_one_long_title_does_not_widen_every_row_of_a_piped_list(capsys: pytest.CaptureFixture[str]) -> None:
    """`v2t job list | less` shows blanks, and the duration a screen to the right."""
    print_table([job("x" * 200), job("Talk")])
    long, short = capsys.readouterr().out.splitlines()[1:]
    assert "x" * 60 in long
    assert "…" in long
    assert len(short) <= 160
