"""How many chunks each job may add to the queue."""

from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.runtime.turns import shares

JOBS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12)  # chunks in the queue, and held back
ROOM = st.integers(-50, 100)


def dealt(room: int, jobs: list[tuple[int, int]]) -> list[int]:
    return shares(room, [queued for queued, _ in jobs], [held for _, held in jobs])


@given(ROOM, JOBS)
def test_exactly_the_free_room_is_used(room: int, jobs: list[tuple[int, int]]) -> None:
    """Else machines are idle although there is work, or the queue grows as long as the longest recording."""
    given_ = dealt(room, jobs)
    starving = sum(queued == 0 and held > 0 for queued, held in jobs)
    held = sum(held for _, held in jobs)
    assert sum(given_) == min(held, max(room, starving, 0))
    assert all(0 <= chunks <= held for chunks, (_, held) in zip(given_, jobs, strict=True))


@given(ROOM, JOBS)
def test_a_job_with_nothing_in_the_queue_always_gets_a_place(room: int, jobs: list[tuple[int, int]]) -> None:
    """Else a long job stands still for as long as short ones come."""
    assert all(chunks for chunks, (queued, held) in zip(dealt(room, jobs), jobs, strict=True) if held and not queued)


@given(ROOM, JOBS)
def test_no_job_gets_ahead_of_one_with_fewer_chunks(room: int, jobs: list[tuple[int, int]]) -> None:
    """Else a job of ten hours takes the room from one of ten minutes."""
    after = [
        (queued + chunks, chunks, held - chunks) for chunks, (queued, held) in zip(dealt(room, jobs), jobs, strict=True)
    ]
    for mine, chunks, _ in after:
        if chunks:
            assert all(theirs >= mine - 1 for theirs, _, left in after if left)


def test_of_equals_the_older_comes_first() -> None:
    """Else the first job may wait for all later ones."""
    assert shares(4, [2, 2, 2], [9, 9, 9]) == [2, 1, 1]
