"""Times within a chunk become times in the source: subtitles stand where the words are spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import SAMPLE_RATE, Span
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.words import Spoken

FOUR_HOURS = 4 * 3600 * SAMPLE_RATE


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Up to 30 s of sorted spans somewhere in four hours, with silence between them, and the speech in each."""
    at = draw(st.integers(0, FOUR_HOURS))
    spans, speech = [], []
    for length in draw(st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=1, max_size=6)):
        spans.append(Span(at, length))
        pad = draw(st.integers(0, (length - 1) // 2))
        speech.append(Span(at + pad, length - 2 * pad))
        at += length + draw(st.integers(1, 600 * SAMPLE_RATE))
    return tuple(spans), tuple(speech)


@st.composite
def words(draw: st.DrawFn) -> list[Spoken]:
    """As engines give them: mostly in order, sometimes outside the chunk."""
    starts = sorted(draw(st.lists(st.floats(-1, 35), max_size=12)))
    return [Spoken(start, start + draw(st.floats(0, 3)), " word") for start in starts]


def seconds(*spans: tuple[float, float]) -> tuple[Span, ...]:
    return tuple(Span(round(start * SAMPLE_RATE), round((end - start) * SAMPLE_RATE)) for start, end in spans)


# A minute of silence was cut out between two sentences; the detector leaves 0.4 s on either side of what it drops.
PAUSE = Layout(seconds((0.0, 3.4), (62.6, 66.0)), seconds((0.4, 3.0), (63.0, 65.6)))


@given(layouts(), words())
def test_no_word_lands_in_silence_that_was_cut_out(
    chunk: tuple[tuple[Span, ...], tuple[Span, ...]], heard: list[Spoken]
) -> None:
    """A word stands on the screen for minutes in which nobody speaks."""
    spans, speech = chunk
    layout = Layout(spans, speech)
    for word in map(layout.placed, layout.trimmed(heard)):
        span = spans[word.span]
        assert span.start / SAMPLE_RATE - 0.001 <= word.start <= word.end
        assert word.end <= (span.start + span.length) / SAMPLE_RATE + 0.001


@given(layouts(), words())
def test_words_keep_their_order(chunk: tuple[tuple[Span, ...], tuple[Span, ...]], heard: list[Spoken]) -> None:
    """Subtitles change places and cannot be read."""
    layout = Layout(*chunk)
    trimmed = layout.trimmed(heard)
    assert [word.text for word in trimmed] == [word.text for word in heard]
    starts = [word.start for word in trimmed]
    assert starts == sorted(starts)
    assert all(0 <= word.start <= word.end <= layout.duration for word in trimmed)


@given(layouts(), st.data())
def test_every_sample_finds_its_place(chunk: tuple[tuple[Span, ...], tuple[Span, ...]], data: st.DataObject) -> None:
    """Four hours in, times have drifted."""
    spans, _ = chunk
    layout = Layout(spans, None)
    n = data.draw(st.integers(0, len(spans) - 1))
    within = data.draw(st.integers(0, spans[n].length - 1))
    at = (sum(span.length for span in spans[:n]) + within) / SAMPLE_RATE
    placed = layout.placed(Spoken(at, at, ""))
    assert placed.start == pytest.approx((spans[n].start + within) / SAMPLE_RATE, abs=0.0006)


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ((3.1, 4.1), (62.95, 63.3)),  # the first word after a pause, stretched back over the seam
        ((3.5, 4.1), (62.95, 63.3)),
        ((2.6, 3.7), (2.6, 3.15)),  # the last one before it, stretched over it
        ((0.0, 0.9), (0.35, 0.9)),
        ((3.9, 4.2), (62.95, 63.4)),  # a start that is a little late
    ],
)
def test_a_word_beside_a_pause_stands_where_it_is_spoken(heard: tuple[float, float], said: tuple[float, float]) -> None:
    """The sentence after ten minutes of silence is shown ten minutes early."""
    (word,) = PAUSE.trimmed([Spoken(*heard, " word")])
    placed = PAUSE.placed(word)
    assert (placed.start, placed.end) == pytest.approx(said, abs=0.001)


def test_a_word_over_a_short_closure_is_not_cut() -> None:
    """The silence before a "t" shortens every other word."""
    layout = Layout(seconds((0, 5)), seconds((0.5, 1.0), (1.2, 3.0)))
    (word,) = layout.trimmed([Spoken(0.85, 1.6, " attic")])
    assert (word.start, word.end) == (0.85, 1.6)


def test_without_a_detector_words_stay_where_the_engine_put_them() -> None:
    """A job without voice detection, or a node of the release before, loses its times."""
    layout = Layout(seconds((10, 20)), None)
    assert [layout.placed(word)[:2] for word in layout.trimmed([Spoken(1.0, 2.5, " a")])] == [(11.0, 12.5)]
    assert not layout.is_detected


def test_stretches_of_speech_have_source_times() -> None:
    """What was not heard is marked ten minutes long because a pause of ten minutes was cut out of it."""
    assert PAUSE.stretches(2.0, 5.0) == [(2.0, 3.0), (63.0, 64.2)]


def test_a_chunk_without_spans_is_a_bug() -> None:
    """It would put every word at the start of the media."""
    with pytest.raises(ValueError, match="at least one span"):
        Layout((), ())
