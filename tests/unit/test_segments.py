"""Segments made from words: what a viewer reads at a time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.transcription.segments import segments
from v2t_stream.transcription.words import Spoken, width


def said(text: str, *, start: float = 0.0, each: float = 0.4, span: int = 0, is_timed: bool = True) -> list[Spoken]:
    return [
        Spoken(start + n * each, start + n * each + each * 0.9, f" {word}", 0.9, is_timed, span)
        for n, word in enumerate(text.split())
    ]


def texts(words: list[Spoken]) -> list[str]:
    return [segment.text for segment in segments(words, word_times=False)]


@st.composite
def speeches(draw: st.DrawFn) -> list[Spoken]:
    """Words with all kinds of marks and pauses, over up to four spans."""
    at, span, words = 0.0, 0, []
    for text in draw(st.lists(st.sampled_from(["a", "word,", "ends.", "Dr.", "really?", "x" * 50, "天"]), max_size=60)):
        if draw(st.integers(0, 12)) == 0:
            span, at = span + 1, at + 60
        at += draw(st.sampled_from([0.0, 0.05, 0.3, 1.2]))
        end = at + draw(st.floats(0, 2))
        words.append(Spoken(at, end, f" {text}", 0.5, is_timed=True, span=span))
        at = end
    return words


@given(speeches())
def test_no_word_is_lost_doubled_or_moved(words: list[Spoken]) -> None:
    """The transcript misses what was heard."""
    found = segments(words, word_times=True)
    assert " ".join(segment.text for segment in found).split() == [word.text.strip() for word in words]
    assert [word.start for segment in found for word in segment.words] == [word.start for word in words]
    for segment in found:
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(speeches())
def test_a_segment_never_stands_over_silence_that_was_cut_out(words: list[Spoken]) -> None:
    """A subtitle stays for the ten minutes until the next sentence."""
    found = segments(words, word_times=True)
    spans = {(word.start, word.text.strip()): word.span for word in words}
    for segment in found:
        assert len({spans[word.start, word.text] for word in segment.words}) == 1
        assert all(other.start - one.end < 0.8 for one, other in pairwise(segment.words))


@given(speeches())
def test_a_segment_fits_on_the_screen(words: list[Spoken]) -> None:
    """A subtitle covers half the picture, or stands too long to be in step with what is said."""
    for segment in segments(words, word_times=True):
        if len(segment.words) > 1:
            assert width(segment.text) <= 84
            assert segment.end - segment.start <= 7.0


def test_a_segment_ends_with_its_sentence() -> None:
    """Two sentences share a line."""
    assert texts(said("Call me Ishmael. Some years ago I went. Why? Never mind!")) == [
        "Call me Ishmael.",
        "Some years ago I went.",
        "Why?",
        "Never mind!",
    ]


def test_a_full_stop_that_ends_no_sentence_parts_none() -> None:
    """Every "Mr." and "J. F. Kennedy" is torn apart."""
    text = "Mr. Smith met J. F. Kennedy at 3.5 p.m. on Monday."
    assert texts(said(text, each=0.2)) == [text]


@pytest.mark.parametrize("mark", ["。", "？", "।", "؟", '."', "!'"])  # noqa: RUF001  as Chinese has it
def test_sentences_of_other_scripts_end_too(mark: str) -> None:
    """A film in Japanese is one subtitle."""
    assert len(texts(said(f"one two{mark} Three four{mark}"))) == 2


def test_a_pause_and_a_seam_end_a_segment() -> None:
    """What is said after a pause is shown before it."""
    assert texts([*said("well then"), *said("I thought", start=3.0)]) == ["well then", "I thought"]
    assert texts([*said("well then"), *said("I thought", start=0.8, span=1)]) == ["well then", "I thought"]


def test_a_long_sentence_is_parted_at_its_clauses() -> None:
    """A line ends between an article and its noun though a comma was near."""
    text = (
        "Some years ago, never mind how long precisely, having little or no money in my purse, and nothing particular "
        "to interest me on shore, I thought I would sail about a little and see the watery part of the world."
    )
    parts = texts(said(text, each=0.28))
    assert " ".join(parts) == text
    assert all(part.endswith((",", ".")) for part in parts[:3])
    assert all(20 <= len(part) <= 84 for part in parts)


def test_words_without_times_are_not_shown_as_timed() -> None:
    """A karaoke subtitle shows guesses as if they were measured."""
    (segment,) = segments(said("by their share", is_timed=False), word_times=True)
    assert segment.text == "by their share"
    assert segment.words == ()
    assert segments(said("not asked"), word_times=False)[0].words == ()


def test_nothing_said_gives_nothing() -> None:
    """Silence has a line."""
    assert segments([], word_times=True) == ()
