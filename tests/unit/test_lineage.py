"""Which histories of a stream contradict each other."""

from typing import Any

import pytest

from v2t_stream.broker.lineage import Lineage, Mark
from v2t_stream.errors import StoreChanged

SEEN = Mark(7, 100.0)


def info(last: int, *, created: str = "monday", epoch: str = "") -> dict[str, Any]:
    return {"created": created, "config": {"metadata": {"v2t_epoch": epoch}}, "state": {"last_seq": last}}


@pytest.fixture
def lineage() -> Lineage:
    lineage = Lineage("nats://x")
    lineage.hold("S", info(5))
    lineage.saw("S", SEEN)
    return lineage


@pytest.mark.parametrize("seen", [SEEN, Mark(3, 90.0), Mark(8, 100.0), Mark(8, 300.0)])
def test_what_comes_again_or_later_is_of_the_same_past(seen: Mark, lineage: Lineage) -> None:
    """Else every second delivery makes a stage start anew."""
    lineage.saw("S", seen)
    lineage.check("S", info(8))


@pytest.mark.parametrize("seen", [Mark(3, 100.5), Mark(7, 100.5)])
def test_a_message_in_the_place_of_an_older_one_is_of_another_past(seen: Mark, lineage: Lineage) -> None:
    """Else an older copy that has since received as many messages as it lost passes for the original stream."""
    with pytest.raises(StoreChanged, match="an older copy of S"):
        lineage.saw("S", seen)
    with pytest.raises(StoreChanged):
        lineage.saw("S", Mark(9, 101.0))
    with pytest.raises(StoreChanged):
        lineage.check("S", info(9))


def test_what_was_seen_before_a_restart_counts() -> None:
    """Else a broker goes back unnoticed while nothing runs."""
    lineage = Lineage("nats://x")
    lineage.recall("S", SEEN)
    lineage.hold("S", info(9))
    with pytest.raises(StoreChanged):
        lineage.saw("S", Mark(6, 101.0))


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (info(6), "an older copy of S"),
        (info(9, epoch="x"), "an older copy of S"),
        (info(9, created="tuesday"), "other streams"),
    ],
)
def test_a_stream_that_was_replaced_is_noticed(now: dict[str, Any], what: str, lineage: Lineage) -> None:
    """Else a worker acks messages that nobody has worked on."""
    with pytest.raises(StoreChanged, match=what):
        lineage.check("S", now)
