"""The scores for real speech."""

import numpy as np
import pytest

from schemas.transcript import Segment, Word
from tests.real_speech import NOVEL, Score, Sentence, Speech, Starts, joined, parted, recording


def told(*said: tuple[float, str]) -> list[Segment]:
    """A transcript of sentences, a word every 0.1 s from their starts on."""
    return [
        Segment(
            start=start,
            end=start + 1,
            text=text,
            words=tuple(
                Word(start=start + n / 10, end=start + n / 10 + 0.1, text=word) for n, word in enumerate(text.split())
            ),
        )
        for start, text in said
    ]


SPEECH = Speech(
    np.zeros(160_000, np.int16),
    (Sentence(1, 2, "Call me."), Sentence(3, 4, "No."), Sentence(5, 6, "It is a way I have.")),
)


def test_a_recording_parted_and_joined_is_as_it_was() -> None:
    """Pauses are judged in a recording that has lost words, or whose times are wrong."""
    novel = recording(NOVEL)
    again = joined(parted(novel), [0])
    assert (again.sound == novel.sound).all()
    for one, other in zip(again.sentences, novel.sentences, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end))
    longer = joined(parted(novel), [600])
    assert longer.sentences[2].start == pytest.approx(novel.sentences[2].start + 1200)


def test_a_sentence_with_an_early_or_late_time_shows() -> None:
    """Every benchmark of times is green whatever an engine does."""
    exact = Starts.of(SPEECH, told((1, "Call me."), (3, "No."), (5, "It is a way I have.")))
    assert exact.offsets == {0: 0, 1: 0, 2: 0}
    starts = Starts.of(SPEECH, told((1, "call me"), (2.4, "no"), (5.2, "it is a way I have")))
    assert starts.offsets == pytest.approx({0: 0, 1: -0.6, 2: 0.2})
    assert (starts.earliest, starts.worst) == (pytest.approx(-0.6), 1)


def test_a_sentence_whose_beginning_was_misheard_is_left_out() -> None:
    """A word elsewhere is taken for it, and its time blamed on the engine."""
    starts = Starts.of(SPEECH, told((1, "Call me."), (5.1, "Is a way I have no.")))
    assert starts.offsets == {0: 0}
    assert starts.sentences == 3


def test_lost_words_are_distinguished_from_misheard_ones() -> None:
    """A benchmark hides what matters most: that words are lost."""
    score = Score.of(SPEECH, told((1, "Call him."), (5, "It is way I have.")))
    assert (score.errors, score.said) == ((1, 2, 0), 9)
