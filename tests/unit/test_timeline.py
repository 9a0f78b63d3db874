"""Where the time of a job went, from its facts."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ChunkDone, Progress
from schemas.message import Message
from tests import builders
from tests.builders import completed, converted, downloaded, later, rerun, stored, submitted
from v2t_stream.cli.timeline import lines
from v2t_stream.jobs.state import Job, fold
from v2t_stream.jobs.timeline import timeline

_T0 = 1_700_000_000.0


def job(*facts: tuple[float, Message]) -> Job:
    """A job whose facts came so many seconds after the first moment."""
    told = stored(*(fact for _, fact in facts))
    return fold("job", [each._replace(at=_T0 + at) for each, (at, _) in zip(told, facts, strict=True)])


SUBMITTED = submitted()


def chunk(n: int, seconds: float, node: str = "m4") -> ChunkDone:
    return builders.chunk(n, node=node, seconds=seconds)


WHOLE = job(
    (0, SUBMITTED),
    (5, downloaded(seconds=3)),
    (8, chunk(0, 1)),
    (10, converted(chunks=3, seconds=4)),
    (14, chunk(1, 2)),
    (14, chunk(2, 2, "box")),
    (15, completed()),
)


def test_each_step_is_where_its_facts_say() -> None:
    """Else the owner buys a faster card though the download is what takes long."""
    found = timeline(WHOLE)
    assert found
    assert found.seconds == 15
    assert {lane.step: lane.intervals for lane in found.lanes} == {
        "waiting": ((0, 2), (5, 6), (10, 12)),
        "downloading": ((2, 5),),
        "decoding": ((6, 10),),
        "transcribing": ((7, 8), (12, 14)),
        "storing": ((14, 15),),
    }
    assert [(share.node, share.chunks, share.audio, share.seconds) for share in found.shares] == [
        ("m4", 2, 60, 3),
        ("box", 1, 30, 2),
    ]


def test_decoding_ends_with_the_media_and_not_with_the_last_chunk_s_turn() -> None:
    """Else a file that was decoded in a second seems to have been decoded when it was nearly transcribed."""
    decoded = Progress(job="job", stage="convert", done=60, total=60, chunks=2)
    found = timeline(
        job(
            (0, SUBMITTED),
            (1, downloaded(seconds=1)),
            (5, decoded),
            (40, chunk(0, 30)),
            (41, converted(chunks=2, seconds=3)),
            (70, chunk(1, 29)),
        )
    )
    assert found
    (decoding,) = (lane for lane in found.lanes if lane.step == "decoding")
    assert decoding.intervals == ((2, 5),)


def test_chunks_of_one_call_count_as_long_as_the_call() -> None:
    """Else an engine that worked all the time seems to have waited."""
    found = timeline(job((0, SUBMITTED), (1, downloaded(seconds=1)), (9, chunk(0, 4)), (9, chunk(1, 4))))
    assert found
    (transcribing,) = (lane for lane in found.lanes if lane.step == "transcribing")
    assert transcribing.intervals == ((1, 9),)


def test_of_a_job_that_was_retried_the_last_try_counts() -> None:
    """Else a job that was retried the next day seems to have waited for a day."""
    found = timeline(
        job(
            (0, SUBMITTED),
            (5, downloaded(seconds=3)),
            (9, chunk(0, 1)),
            (100, rerun(downloaded(seconds=3), keeps=(0,))),
            (103, converted(chunks=2, seconds=2, run=1)),
            (105, later(1, chunk(1, 1))),
            (120, chunk(1, 1)),  # of the run before, and late
        )
    )
    assert found
    assert (found.start, found.seconds) == (_T0 + 100, 5)
    assert {lane.step: lane.intervals for lane in found.lanes} == {
        "waiting": ((0, 1), (3, 4)),
        "downloading": (),
        "decoding": ((1, 3),),
        "transcribing": ((4, 5),),
        "storing": (),
    }


def test_a_job_that_has_only_begun_waits() -> None:
    """Else the page shows an error instead of what is known."""
    found = timeline(job((0, SUBMITTED)))
    assert found
    assert (found.seconds, found.shares) == (0, ())
    assert list(lines(job((0, SUBMITTED)), 80))
    assert timeline(Job("job")) is None
    assert not list(lines(Job("job"), 80))


_TIME = st.floats(0, 1000)


@given(
    st.lists(st.tuples(_TIME, _TIME, st.sampled_from(["a", "b"])), max_size=20),
    st.tuples(_TIME, _TIME),
    st.tuples(_TIME, _TIME),
    st.integers(20, 200),
)
def test_every_moment_has_its_step(
    chunks: list[tuple[float, float, str]],
    download: tuple[float, float],
    convert: tuple[float, float],
    columns: int,
) -> None:
    """Else shares do not add up, or a bar is longer than the terminal is wide."""
    state = job(
        (0, SUBMITTED),
        (download[0], downloaded(seconds=download[1])),
        (convert[0], converted(chunks=len(chunks), seconds=convert[1])),
        *((at, chunk(n, seconds, node)) for n, (at, seconds, node) in enumerate(chunks)),
    )
    found = timeline(state)
    assert found
    for lane in found.lanes:
        moments = [moment for interval in lane.intervals for moment in interval]
        assert moments == sorted(moments)
        assert not moments or (moments[0] >= 0 and moments[-1] <= found.seconds)
    waiting, *others = found.lanes
    assert sum(lane.seconds for lane in found.lanes) >= found.seconds - 1e-6
    for begin, end in waiting.intervals:
        assert not any(b < end and begin < e for lane in others for b, e in lane.intervals)
    assert sum(share.chunks for share in found.shares) == len(chunks)
    assert all(len(line) <= max(columns, 70) for line in lines(state, columns))


def test_the_bars_are_on_one_axis() -> None:
    """Else the eye sees a step before the one that it waited for."""
    found = {line[:12].strip(): line[30:] for line in lines(WHOLE, 47)}
    assert found["downloading"] == "  ███"
    assert found["decoding"] == "      ████"
    assert found["storing"] == "              █"
