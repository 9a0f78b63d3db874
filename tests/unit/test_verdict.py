"""What happens to a message whose work failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Tries
from v2t_stream.errors import Full, Reject, Retry, Unready
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.verdict import Again, GivenUp, verdict
from v2t_stream.topology.stages import stage_row

ROW = stage_row("transcribe")
PATIENCE = Patience()


def tries(failures: int = 0, waits: int = 0) -> Tries:
    return Tries(job="job", stage="transcribe", message=1, failures=failures, waits=waits)


@pytest.mark.parametrize("error", [OSError("a fault"), Retry("a fault"), ValueError("a fault")])
def test_a_fault_that_lasts_is_given_up_after_as_many_tries_as_its_stage_allows(error: Exception) -> None:
    """Else a broken file is worked on for ever, or a hiccup fails a job."""
    before, count = tries(waits=PATIENCE.waits - 1), 0
    while isinstance(found := verdict(error, before, ROW, PATIENCE), Again):
        before, count = found.tries, count + 1
    assert isinstance(found, GivenUp)
    assert count == ROW.tries - 1
    assert f"given up after {ROW.tries} tries" in found.reason


@given(failures=st.integers(0, 3), waits=st.integers(0, 10))
def test_what_is_nobodys_fault_uses_up_no_try(failures: int, waits: int) -> None:
    """Else an hour in which a model is fetched, or a game has the GPU, fails the jobs of that hour."""
    for error in (Unready("a model comes"), Full("no memory")):
        found = verdict(error, tries(failures, waits), ROW, PATIENCE)
        assert isinstance(found, Again)
        assert (found.tries.failures, found.tries.waits) == (failures, waits + 1)


def test_what_can_never_be_done_is_given_up_at_once() -> None:
    """Else the user waits minutes for a certain failure."""
    assert verdict(Reject("no audio"), tries(), ROW, PATIENCE) == GivenUp("no audio")


def test_a_delay_that_the_stage_asks_for_is_kept() -> None:
    """Else a service that says when to come back is asked too early, and refuses for longer."""
    found = verdict(Retry("limit reached", delay=42), tries(), ROW, PATIENCE)
    assert isinstance(found, Again)
    assert found.delay == 42
