"""Which node does what: ranks and stragglers, decided from what nodes report."""

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import process
from v2t_stream.fleet.presence import NodeInfo, Presence, rank
from v2t_stream.runtime.stragglers import stragglers

CHUNK = 30.0  # seconds


def chunk(of: str, accelerator: str = "any") -> str:
    """Its subject, of the job `of`."""
    return f"v2t.chunk.{accelerator}.{of}.0"


def node(name: str, speed: float | None, accelerator: str = "any", **working: float) -> NodeInfo:
    """One that has a chunk of each job in `working` in hand, for so many seconds. `accelerator`: what it has."""
    return process(
        node=name,
        speed=speed,
        queues=(f"transcribe-{accelerator}", "transcribe-any"),
        working={chunk(job, accelerator): seconds for job, seconds in working.items()},
    )


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
    assert stragglers([ME, node("slow", 1.0, job=5.0), node("fast", 40.0)], ME, CHUNK) == [chunk("job")]


def test_what_a_stuck_node_has_is_done_again() -> None:
    """Else a machine that hangs holds the job until its chunk times out."""
    assert stragglers([ME, node("stuck", 40.0, job=20.0)], ME, CHUNK) == [chunk("job")]


def test_what_will_be_done_sooner_there_is_left_there() -> None:
    """Else every chunk is done twice."""
    assert not stragglers([ME, node("peer", 40.0, job=0.5)], ME, CHUNK)
    assert not stragglers([ME, node("slow", 1.0, job=29.5)], ME, CHUNK)


def test_what_somebody_does_again_already_is_left_to_them() -> None:
    """Else all idle nodes do the same chunk."""
    assert not stragglers([ME, node("slow", 1.0, job=5.0), node("quick", 60.0, job=0.1)], ME, CHUNK)


def test_a_node_that_does_not_know_its_own_speed_keeps_out() -> None:
    """Else a slow new node takes a chunk that others would have finished sooner."""
    assert not stragglers([node("slow", 1.0, job=9.0)], node("me", None), CHUNK)


def test_the_latest_comes_first() -> None:
    """Else the help goes to the chunk that needs it least."""
    fleet = [ME, node("a", 1.0, soon=20.0), node("b", 0.5, late=20.0), node("c", 40.0), node("d", 40.0)]
    assert stragglers(fleet, ME, CHUNK) == [chunk("late"), chunk("soon")]


def test_what_is_pinned_is_done_again_by_nodes_of_that_kind_alone() -> None:
    """Else a user who asked for a graphics card gets the words of an idle laptop."""
    busy = node("busy", 1.0, "cuda", job=5.0)
    plain, card = node("plain", 40.0, "cpu"), node("card", 40.0, "cuda")
    assert not stragglers([busy, plain, card], plain, CHUNK)
    assert stragglers([busy, plain, card], card, CHUNK) == [chunk("job", "cuda")]
