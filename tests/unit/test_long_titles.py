"""Titles as long as a page: some sites have the whole description there."""

from schemas.requests import SubmitRequest
from v2t_stream.jobs.submission import submitted


def test_a_job_keeps_the_beginning_of_a_title() -> None:
    """The title of one job fills the monitor, and every message about it."""
    url = "https://a.example/1"
    fact = submitted("job", SubmitRequest(url=url, title="x" * 4000))
    assert len(fact.title) == 200
    assert fact.is_titled
    assert not submitted("job", SubmitRequest(url=url)).is_titled  # the medium may have a better one
