"""Where the timeline shows unfinished chunks."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ChunkDone, Progress
from tests.tui.still import stored
from tui.state.timeline import columns, stretches
from v2t_stream.jobs.state import Job, fold


def job(done: dict[int, str], cut: int) -> Job:
    """A job of chunks of 30 s; `done`: by number, with the error of a gap."""
    facts = [
        ChunkDone(job="j", n=n, start=30.0 * n, end=30.0 * n + 30, error=error, node="m4") for n, error in done.items()
    ]
    progress = Progress(job="j", stage="convert", done=30.0 * cut, total=30.0 * cut, chunks=cut)
    return fold("j", stored([(0.0, fact) for fact in (progress, *facts)]))


def test_what_waits_lies_between_what_is_done() -> None:
    """Gaps are shown in another place than the words that will fill them."""
    found = stretches(job({0: "", 3: "no", 4: ""}, cut=6), {2: "box"})
    assert [(one.first, one.last, one.kind, one.start, one.end, one.node) for one in found] == [
        (0, 0, "done", 0.0, 30.0, "m4"),
        (1, 1, "waiting", 30.0, 60.0, ""),
        (2, 2, "working", 60.0, 90.0, "box"),
        (3, 3, "gap", 90.0, 120.0, "m4"),
        (4, 4, "done", 120.0, 150.0, "m4"),
        (5, 5, "waiting", 150.0, 180.0, ""),
    ]


@given(st.dictionaries(st.integers(0, 40), st.sampled_from(["", "no"])), st.integers(0, 40), st.integers(1, 200))
def test_every_chunk_has_one_place_and_no_gap_is_hidden(done: dict[int, str], cut: int, width: int) -> None:
    """A chunk is not shown or twice, or a missing one is covered by its neighbours on a narrow terminal."""
    state = job(done, cut)
    found = stretches(state, dict.fromkeys(range(0, 40, 7), "box"))
    numbers = [n for one in found for n in range(one.first, one.last + 1)]
    assert numbers == list(range(max([cut, *(n + 1 for n in done)])))
    shown = columns(found, 30.0 * max([cut, 1, *(n + 1 for n in done)]), width)
    assert len(shown) == width
    assert any(one and one.kind == "gap" for one in shown) == any(done.values())
