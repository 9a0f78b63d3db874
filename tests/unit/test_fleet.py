"""Who is to do what: ranks and stragglers, decided from what nodes tell about themselves."""

from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.fleet import NodeInfo, Presence, rank
from v2t_stream.stragglers import stragglers

CHUNK = 30.0  # seconds


def node(name: str, speed: float | None, **working: float) -> NodeInfo:
    return NodeInfo(node=name, stage="transcribe", pid=1, version="1", speed=speed, working=working)


ME = node("me", 40.0)


@given(st.floats(0.01, 10_000), st.floats(0.01, 10_000))
def test_a_faster_node_never_ranks_behind_a_slower_one(one: float, other: float) -> None:
    """Else a slow laptop gets the chunk that a free card waits for."""
    assert 0 <= rank(max(one, other)) <= rank(min(one, other)) <= 9


def test_a_new_node_stands_in_the_middle() -> None:
    """Else it gets no work to measure itself by, or all of it."""
    assert rank(1000.0) < rank(None) < rank(0.5)


def test_speed_is_that_of_the_latest_chunks() -> None:
    """Else a node that was slow an hour ago stays at the end of the queue."""
    presence = Presence("n", "transcribe")
    assert presence.speed is None
    for seconds in [30.0] * 20 + [1.0] * 20:
        presence.measured(CHUNK, seconds)
    assert presence.speed == 30.0


def test_what_a_slow_node_has_long_is_done_again() -> None:
    """Else the last chunk of a job ends on the slowest machine."""
    assert stragglers([ME, node("slow", 1.0, chunk=5.0), node("fast", 40.0)], ME, CHUNK) == ["chunk"]


def test_what_a_stuck_node_has_is_done_again() -> None:
    """Else a machine that hangs holds the job until its chunk times out."""
    assert stragglers([ME, node("stuck", 40.0, chunk=20.0)], ME, CHUNK) == ["chunk"]


def test_what_will_be_done_sooner_there_is_left_there() -> None:
    """Else every chunk is done twice."""
    assert not stragglers([ME, node("peer", 40.0, chunk=0.5)], ME, CHUNK)
    assert not stragglers([ME, node("slow", 1.0, chunk=29.5)], ME, CHUNK)


def test_what_somebody_does_again_already_is_left_to_them() -> None:
    """Else all idle nodes do the same chunk."""
    assert not stragglers([ME, node("slow", 1.0, chunk=5.0), node("quick", 60.0, chunk=0.1)], ME, CHUNK)


def test_a_node_that_does_not_know_its_own_speed_keeps_out() -> None:
    """Else a slow newcomer takes what would have been done before it is."""
    assert not stragglers([node("slow", 1.0, chunk=9.0)], node("me", None), CHUNK)


def test_the_latest_comes_first() -> None:
    """Else the help goes to the chunk that needs it least."""
    fleet = [ME, node("a", 1.0, soon=20.0), node("b", 0.5, late=20.0), node("c", 40.0), node("d", 40.0)]
    assert stragglers(fleet, ME, CHUNK) == ["late", "soon"]
