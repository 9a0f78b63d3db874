"""Words with times, from whatever an engine gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.transcript import Segment, Word
from v2t_stream.transcription.words import Stretch, spoken, width


def segment(text: str, *words: str, start: float = 0.0, end: float = 10.0) -> Segment:
    timed = tuple(Word(start=float(n), end=n + 0.5, text=word) for n, word in enumerate(words))
    return Segment(start=start, end=end, text=text, words=timed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Call me Ishmael.", ["Call", "me", "Ishmael."]),
        ("我叫以实玛利。", ["我", "叫", "以", "实", "玛", "利。"]),
        ("ice-cream , twice", ["ice-cream", ",", "twice"]),
        ("the the the", ["the", "the", "the"]),
    ],
)
def test_words_joined_give_the_text_of_their_segment(text: str, words: list[str]) -> None:
    """Chinese comes out with a space between any two characters, or a word is lost."""
    assert "".join(word.text for word in spoken([segment(text, *words)], ())).strip() == text


def test_text_that_no_word_covers_is_kept() -> None:
    """A word that an engine could not align vanishes from the transcript."""
    joined = "".join(word.text for word in spoken([segment("Well, he said so!", "he", "said")], ()))
    assert joined.strip() == "Well, he said so!"


@given(st.text(alphabet="ab c.").map("a{}".format), st.lists(st.floats(0, 30), min_size=2, max_size=8))
def test_words_without_times_are_spread_over_the_speech(text: str, edges: list[float]) -> None:
    """A service without word times puts words into silence, out of order, or loses some."""
    edges = sorted(edges)
    speech = [Stretch(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if b - a > 0.01]
    words = list(spoken([Segment(start=0.0, end=30.0, text=text)], speech))
    assert "".join(word.text for word in words).split() == text.split()
    assert not any(word.is_timed for word in words)
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    for word in words:
        assert word.start <= word.end
        assert not speech or any(mark.start - 1e-6 <= word.start <= mark.end + 1e-6 for mark in speech)


def test_time_is_shared_by_characters() -> None:
    """A long sentence and a short one get the same time."""
    words = list(spoken([Segment(start=0.0, end=30.0, text="Yes. Whatever.")], [Stretch(1.0, 3.0), Stretch(9.0, 10.0)]))
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in words] == [
        (" Yes.", 1.0, 2.0),
        (" Whatever.", 2.0, 10.0),
    ]


def test_a_line_of_chinese_is_parted_by_characters() -> None:
    """It is one word of 30 s, and so one subtitle."""
    line = "天" * 40
    assert len(list(spoken([Segment(start=0.0, end=30.0, text=line)], [Stretch(0.0, 30.0)]))) == 40
    assert width(line) == 80


@pytest.mark.parametrize("text", ["♪ ♪ ♪", " . ", "…", ""])
def test_signs_alone_are_no_words(text: str) -> None:
    """Music has subtitles full of notes."""
    assert list(spoken([segment(text, text)], ())) == []
