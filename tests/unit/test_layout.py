"""Times within a chunk become times in the source: subtitles stand where the words are spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from v2t_stream.spans import SLACK, SpanMap, to_source

from schemas.chunks import SAMPLE_RATE, Span
from schemas.transcript import Segment, Word

FOUR_HOURS = 4 * 3600 * SAMPLE_RATE


@st.composite
def spans(draw: st.DrawFn) -> tuple[Span, ...]:
    """Up to 30 s of sorted spans with silence between them, somewhere in four hours."""
    at = draw(st.integers(0, FOUR_HOURS))
    found: list[Span] = []
    for length in draw(st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=1, max_size=6)):
        found.append(Span(at, length))
        at += length + draw(st.integers(1, 600 * SAMPLE_RATE))
    return tuple(found)


seconds = st.floats(-1, 40, allow_nan=False)
TWO = (Span(16_000, 32_000), Span(160_000, 32_000))  # source 1 to 3 s and 10 to 12 s, in the chunk 0 to 2 and 2 to 4 s


def inside(spans: tuple[Span, ...], time: float) -> bool:
    at = round(time * SAMPLE_RATE)
    return any(span.start <= at <= span.start + span.length for span in spans)


@given(spans(), seconds, seconds)
def test_order_is_kept(spans: tuple[Span, ...], one: float, other: float) -> None:
    """Subtitles that change places could not be read."""
    place = SpanMap(spans)
    early, late = sorted((one, other))
    assert place.start(early) <= place.start(late)
    assert place.end(early) <= place.end(late)


@given(spans(), seconds)
def test_nothing_lands_in_dropped_silence(spans: tuple[Span, ...], time: float) -> None:
    """A word whose time lies where nobody speaks is wrong, whatever the engine said, past the chunk's end too."""
    assert inside(spans, SpanMap(spans).start(time))
    assert inside(spans, SpanMap(spans).end(time))


@given(st.floats(0, 30, allow_nan=False))
def test_one_span_from_the_start_changes_nothing(time: float) -> None:
    """A short clip without silences keeps the engine's times."""
    place = SpanMap((Span(0, 30 * SAMPLE_RATE),))
    assert place.start(time) == pytest.approx(time, abs=1e-7)
    assert place.end(time) == pytest.approx(time, abs=1e-7)


@given(spans(), st.data())
def test_every_sample_finds_its_place(spans: tuple[Span, ...], data: st.DataObject) -> None:
    """Four hours in, a time is still exact to the sample: nothing adds up."""
    index = data.draw(st.integers(0, len(spans) - 1))
    offset = data.draw(st.integers(0, spans[index].length))
    before = sum(span.length for span in spans[:index])
    time = (before + offset) / SAMPLE_RATE
    expected = (spans[index].start + offset) / SAMPLE_RATE
    place = SpanMap(spans)
    if offset < spans[index].length:
        assert place.start(time, slack=0) == expected
    if offset:
        assert place.end(time, slack=0) == expected
    if SLACK < offset < spans[index].length - SLACK:
        assert place.start(time) == place.end(time) == expected


@given(spans(), st.lists(st.tuples(seconds, st.floats(0, 10)), max_size=5))
def test_segments_never_end_before_they_start(spans: tuple[Span, ...], times: list[tuple[float, float]]) -> None:
    """Players drop subtitles of negative length."""
    words = tuple(Word(start=start, end=start + length, text="a") for start, length in times)
    segments = [Segment(start=word.start, end=word.end, text="a", words=words) for word in words]
    for segment in to_source(spans, segments):
        for timed in (segment, *segment.words):
            assert inside(spans, timed.start)
            assert inside(spans, timed.end)
            assert timed.start <= timed.end


@pytest.mark.parametrize(
    ("start", "end", "source"),
    [
        (0.5, 1.5, (1.5, 2.5)),
        (0.5, 2.0, (1.5, 3.0)),  # on the boundary, an end belongs to what was said before
        (2.0, 3.0, (10.0, 11.0)),  # and a start to what is said after
        (0.5, 2.1, (1.5, 3.0)),  # as it does a little off the boundary
        (1.9, 3.0, (10.0, 11.0)),
        (1.85, 1.95, (2.85, 2.95)),  # wholly on one side it stays there
        (2.05, 2.15, (10.05, 10.15)),
        (1.0, 3.0, (2.0, 11.0)),  # a sentence with a long pause in it
        (3.0, 9.0, (11.0, 12.0)),  # past the chunk's end
        (5.0, 9.0, (12.0, 12.0)),
        (-0.1, 0.5, (1.0, 1.5)),
    ],
)
def test_sentence_beside_a_dropped_silence(start: float, end: float, source: tuple[float, float]) -> None:
    """A subtitle must not stay on the screen for the minutes of silence after its sentence, nor come before them."""
    word = Word(start=start, end=end, text="hello", probability=0.5)
    (segment,) = to_source(TWO, [Segment(start=start, end=end, text="hello", words=(word,))])
    assert (segment.start, segment.end) == pytest.approx(source)
    assert (segment.words[0].start, segment.words[0].end) == pytest.approx(source)
    assert (segment.text, segment.words[0].text, segment.words[0].probability) == ("hello", "hello", 0.5)


def test_no_spans() -> None:
    """A chunk of nothing is a bug that must not pass as times of zero."""
    with pytest.raises(ValueError, match="at least one span"):
        SpanMap(())
