"""Missed words are found, and doubtful words are marked."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import SAMPLE_RATE, Span
from schemas.transcript import Segment, Word
from v2t_stream.transcription.audit import Hole, doubts, filled, holes
from v2t_stream.transcription.coverage import Covered, covered
from v2t_stream.transcription.layout import Layout
from v2t_stream.transcription.words import Spoken


def layout(*speech: tuple[float, float], length: float = 30.0, start: float = 0.0) -> Layout:
    """One span, and in it the speech, in its own seconds."""
    marks = [Span(round((start + a) * SAMPLE_RATE), round((b - a) * SAMPLE_RATE)) for a, b in speech]
    return Layout([Span(round(start * SAMPLE_RATE), round(length * SAMPLE_RATE))], marks)


def said(start: float, end: float, text: str = "", each: float = 0.4) -> list[Spoken]:
    """A word every so many seconds, all different."""
    count = round((end - start) / each)
    return [Spoken(start + n * each, start + (n + 1) * each, f" {text or f'word{n}'}") for n in range(count)]


@given(st.data())
def test_every_long_stretch_without_a_word_is_found_and_no_other(data: st.DataObject) -> None:
    """Words are lost without a mark; or half of a good transcript is heard twice."""
    at, words, missing = 0.5, [], []
    for _ in range(data.draw(st.integers(1, 5))):
        end = at + data.draw(st.floats(0.8, 4))
        words += said(at, end)
        at = words[-1].end if words else at
        gap = data.draw(st.one_of(st.floats(0, 1.9), st.floats(2.1, 6)))
        if gap > 2:
            missing.append((at, at + gap))
        at += gap
    words += said(at, at + 1.2)
    whole = layout((0.5, words[-1].end), length=words[-1].end + 0.5)
    assert [(hole.start, hole.end) for hole in holes(words, whole)] == [pytest.approx(gap) for gap in missing]


def test_silence_between_words_is_no_hole() -> None:
    """Each pause costs a second call of the engine, and is marked as missing."""
    assert holes([*said(0, 4), *said(10, 14)], layout((0, 4), (10, 14), length=14)) == []


def test_speech_in_pieces_counts_together() -> None:
    """A sentence spoken in short phrases is lost between two words without a mark."""
    words = [*said(0, 4), *said(12, 16)]
    pieces = [(5, 5.8), (6.5, 7.3), (8, 8.8), (10, 10.8)]
    assert holes(words, layout((0, 4), *pieces, (12, 16), length=16)) == [Hole(4.0, 12.0)]
    assert holes(words, layout((0, 4), *pieces[:3], (12, 16), length=16)) == []  # laughter


def test_a_word_stretched_over_what_was_not_heard_hides_nothing() -> None:
    """The alignment gives the lost words' time to their neighbour."""
    words = [*said(0, 4), Spoken(4.0, 9.0, " and"), *said(9, 12)]
    assert holes(words, layout((0, 12), length=12)) == [Hole(4.0, 9.0)]


def test_a_chunk_in_which_nothing_was_heard_is_a_hole() -> None:
    """A whole chunk is lost without a mark."""
    assert holes([], layout((1, 29))) == [Hole(0.0, 30.0)]


def test_without_a_detector_nothing_is_known_to_be_missing() -> None:
    """All silence is heard again and marked, where the user wanted no detector."""
    assert holes([], Layout([Span(0, 480_000)], None)) == []
    assert doubts(said(0, 10), Layout([Span(0, 480_000)], None)) == []


def test_what_is_heard_again_takes_the_place_of_what_was_stretched() -> None:
    """A word stands twice, or the stretched one stays in the middle of what was found."""
    words = [*said(0, 4), Spoken(4.0, 9.0, " and"), *said(9, 12)]
    found = [Spoken(3.9, 4.1, " word9"), *said(4.2, 8.6, "found"), Spoken(8.8, 9.1, " word0,")]
    assert [word.text for word in filled(words, Hole(4.0, 9.0), found)] == [
        *(word.text for word in said(0, 4)),
        *[" found"] * 11,
        *(word.text for word in said(9, 12)),
    ]


def test_what_is_heard_again_leaves_all_else_alone() -> None:
    """A long word elsewhere in the chunk is lost because a hole was filled."""
    words = [Spoken(0.0, 4.0, " Well,"), *said(4, 8), *said(12, 14)]
    assert filled(words, Hole(8.0, 12.0), said(8.5, 11, "found"))[0] == words[0]


def test_nothing_heard_again_changes_nothing() -> None:
    """The word that was stretched over noise is lost."""
    words = [*said(0, 4), Spoken(4.0, 9.0, " and")]
    assert filled(words, Hole(4.0, 9.0), []) == words


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (said(20, 24), "no speech was detected here"),
        (said(1, 8, "you"), "the same words 18 times in a row"),
        ([word for n in range(7) for word in said(1 + n, 2 + n, each=0.5)], "the same words 7 times in a row"),
        (said(2, 4.5, each=0.1), "more words than a person can say in this time"),
    ],
)
def test_what_was_perhaps_never_said_is_marked(words: list[Spoken], reason: str) -> None:
    """An invented sentence stands in the transcript like any other."""
    (doubt,) = doubts(words, layout((0, 10)))
    assert doubt.reason == reason
    assert doubt.start == pytest.approx(words[0].start)
    assert doubt.end == pytest.approx(words[-1].end)


def test_ordinary_speech_is_not_doubted() -> None:
    """Every transcript is full of marks, which nobody reads any more."""
    assert doubts(said(0, 10, each=0.2), layout((0, 10))) == []
    assert doubts([*said(1, 3, "no"), *said(3, 9)], layout((0, 10))) == []


class Engine:
    """Has heard every word that was said, and gives those that `loses` lets through."""

    def __init__(self, said: list[Spoken], *, share: float) -> None:
        self._said = said
        self._share = share
        self.calls: list[tuple[float, float]] = []

    def hear(self, start: float, end: float) -> list[Segment]:
        """All but the last part of the window, which a share of it is left of."""
        until = start + (end - start) * self._share
        words = [
            Word(start=word.start - start, end=word.end - start, text=word.text.strip())
            for word in self._said
            if start - 0.05 <= word.start and word.end <= until + 0.05
        ]
        if not words:
            return []
        return [Segment(start=0.0, end=end - start, text=" ".join(word.text for word in words), words=tuple(words))]

    async def again(self, start: int, end: int) -> Iterable[Segment]:
        self.calls.append((start / SAMPLE_RATE, end / SAMPLE_RATE))
        return self.hear(start / SAMPLE_RATE, end / SAMPLE_RATE + 1.0)


async def run(engine: Engine, chunk: Layout) -> Covered:
    return await covered(engine.hear(0.0, chunk.duration), chunk, engine.again)


@pytest.mark.parametrize("share", [0.9, 0.8, 0.7, 0.6])
async def test_an_engine_that_drops_the_end_of_every_window_gives_a_whole_transcript(share: float) -> None:
    """A tenth of all words is lost, and the job is completed."""
    words = said(0.4, 29.6)
    engine = Engine(words, share=share)
    result = await run(engine, layout((0.4, 29.6), start=600))
    assert [word.text for word in result.words] == [word.text for word in words]
    assert [word.start for word in result.words] == pytest.approx([600 + word.start for word in words], abs=0.002)
    assert result.unheard == ()
    assert 1 <= len(engine.calls) <= 6


async def test_what_cannot_be_heard_is_recorded() -> None:
    """The transcript says it is whole when it is not."""
    engine = Engine(said(0.0, 10.0), share=1.0)
    result = await run(engine, layout((0, 10), (14, 17), (25, 28), start=600))
    assert [(round(one.start, 1), round(one.end, 1)) for one in result.unheard] == [(614.0, 617.0), (625.0, 628.0)]
    assert engine.calls == [(10.0, 30.0)]  # once: it heard nothing, and would hear nothing again


async def test_what_cannot_have_been_said_in_a_hole_is_not_believed() -> None:
    """A laugh becomes a sentence that nobody said."""
    words = said(0.0, 10.0)

    async def again(*_: int) -> Iterable[Segment]:
        return [
            Segment(start=0.0, end=9.0, text="So, first of all, I am just going to be sitting here, and I am glad.")
        ]

    engine = Engine(words, share=1.0)
    chunk = layout((0, 10), (14, 16), length=20)
    result = await covered(engine.hear(0.0, 20.0), chunk, again)
    assert [word.text for word in result.words] == [word.text for word in words]
    assert [(one.start, one.end) for one in result.unheard] == [(14.0, 16.0)]


async def test_good_speech_is_heard_once() -> None:
    """Every job takes twice as long."""
    engine = Engine(said(0.4, 29.6), share=1.0)
    result = await run(engine, layout((0.4, 12), (12.5, 29.6)))
    assert engine.calls == []
    assert (result.unheard, result.doubtful) == ((), ())


async def test_doubts_have_source_times() -> None:
    """The monitor marks the wrong words."""
    engine = Engine(said(1, 8, "you"), share=1.0)
    (doubt,) = (await run(engine, layout((0, 9), length=9, start=600))).doubtful
    assert (doubt.start, doubt.end) == (601.0, pytest.approx(608.2))
