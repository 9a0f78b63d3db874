"""A transcript as text, and what an edited text means."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.transcript import Doubt, Gap, Segment, Transcript, Unheard, Word
from tests.builders import transcript
from v2t_stream.errors import V2TError
from v2t_stream.jobs.edited import carried, corrected, form


def spoken(start: float, *words: str, times: bool = True) -> Segment:
    """A word each half second."""
    found = tuple(
        Word(start=start + n / 2, end=start + n / 2 + 0.4, text=word, probability=0.9) for n, word in enumerate(words)
    )
    return Segment(start=start, end=start + len(words) / 2, text=" ".join(words), words=found if times else ())


TALK = transcript(spoken(0.0, "So", "we", "begin", "with", "Ishmail"), spoken(10.0, "Thank", "you."))


def changed(before: Transcript, *edits: tuple[str, str]) -> Transcript:
    text = form(before)
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return corrected(before, text)


@given(
    st.lists(st.tuples(st.floats(0, 90_000), st.floats(0, 30), st.text(max_size=40)), max_size=8),
    st.lists(st.floats(0, 90_000), max_size=2),
)
def test_a_text_that_was_only_looked_at_changes_nothing(
    lines: list[tuple[float, float, str]], missing: list[float]
) -> None:
    """Else every look at a transcript is a correction that nobody made, or loses words and times."""
    before = transcript(
        *sorted(
            (Segment(start=start, end=start + length, text=text) for start, length, text in lines),
            key=lambda segment: (segment.start, segment.end),
        ),
        gaps=tuple(Gap(chunk=n, start=at, end=at + 30, reason="out\nof memory") for n, at in enumerate(missing)),
        unheard=tuple(Unheard(start=at + 40, end=at + 45) for at in missing),
    )
    assert corrected(before, form(before)) == before


def test_a_changed_word_gets_its_time_and_the_others_keep_theirs() -> None:
    """Else correcting a name moves the subtitles, or makes the search by words miss."""
    segment, other = changed(TALK, ("Ishmail", "Ishmael the sailor")).segments
    assert other is TALK.segments[1]
    assert segment.text == "So we begin with Ishmael the sailor"
    assert segment.words[:4] == TALK.segments[0].words[:4]
    assert [word.text for word in segment.words[4:]] == ["Ishmael", "the", "sailor"]
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert (segment.words[4].start, segment.words[-1].end) == (2.0, 2.4)
    assert segment.words[4].probability is None  # no engine heard it


def test_capitals_and_marks_keep_the_time_of_the_word() -> None:
    """Else a comma costs the time of the word before it."""
    segment = changed(TALK, ("So we", "So, We")).segments[0]
    assert [(word.start, word.text) for word in segment.words[:2]] == [(0.0, "So,"), (0.5, "We")]


def test_a_line_that_was_split_is_two_segments_at_the_times_of_their_words() -> None:
    """Else the second half of a subtitle is shown with the first."""
    first, second, _ = changed(TALK, ("we begin", "we\nbegin")).segments
    assert (first.text, first.start, first.end) == ("So we", 0.0, 0.9)
    assert (second.text, second.start, second.end) == ("begin with Ishmail", 1.0, 2.5)


def test_a_part_that_begins_with_a_number_sign_is_not_ignored() -> None:
    """Else words vanish because somebody pressed Enter before them."""
    segments = changed(TALK, ("with Ishmail", "with\n#1 Ishmail")).segments
    assert [each.text for each in segments] == ["So we begin with", "#1 Ishmail", "Thank you."]


def test_without_word_times_the_words_share_the_time_and_none_are_invented() -> None:
    """Else a transcript that had no words' times suddenly has some, which nobody measured."""
    before = transcript(spoken(0.0, "one", "two", "three", "four", times=False))
    first, second = changed(before, ("two three", "two\nthree")).segments
    assert (first.words, second.words) == ((), ())
    assert 0 < first.end <= second.start < second.end == 2.0


def test_a_script_without_blanks_is_aligned_letter_by_letter() -> None:
    """Else a corrected line of Chinese is one word from its start to its end."""
    before = transcript(
        Segment(
            start=0,
            end=2,
            text="今天天汽",
            words=(Word(start=0, end=1, text="今天"), Word(start=1, end=2, text="天汽")),
        )
    )
    (segment,) = changed(before, ("天汽", "天气")).segments
    assert [(word.text, word.start) for word in segment.words] == [("今", 0.0), ("天", 0.5), ("天", 1.0), ("气", 1.5)]


def test_a_deleted_line_is_gone_and_an_added_one_has_its_times() -> None:
    """Else words that were never said stay, or words that were said cannot be added."""
    after = changed(TALK, ("[00:10.000 - 00:11.000] Thank you.\n", "[00:20.5 - 00:21] Good night.\n"))
    assert [(each.start, each.end, each.text) for each in after.segments[1:]] == [(20.5, 21.0, "Good night.")]


def test_what_is_missing_stays_missing_until_somebody_writes_what_was_said() -> None:
    """Else deleting a line makes a transcript whole that is not."""
    before = transcript(
        *TALK.segments,
        gaps=(Gap(chunk=1, start=30.0, end=40.0, reason="out of memory"),),
        unheard=(Unheard(start=50.0, end=55.0),),
    )
    line = "[00:30.000 - 00:40.000] [missing: out of memory]\n"
    assert changed(before, (line, "")) == before
    after = changed(before, ("[missing: out of memory]", "And so it goes."))
    assert (after.gaps, after.unheard) == ((), before.unheard)
    assert after.segments[-1].text == "And so it goes."


def test_a_doubt_ends_when_somebody_has_changed_its_words() -> None:
    """Else words that a person has checked are still called doubtful; or those that nobody looked at no longer are."""
    doubts = (Doubt(start=0.0, end=1.0, reason="no speech detected here"), Doubt(start=10.0, end=11.0, reason="loop"))
    after = changed(transcript(*TALK.segments, doubtful=doubts), ("Ishmail", "Ishmael"))
    assert after.doubtful == doubts[1:]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello\n", "line 1, 'hello', comes before the first line with times"),
        ("# a\n[00:10 - 00:05] hello\n", r"line 2, .* ends before it starts: correct its times"),
    ],
)
def test_a_line_without_a_meaning_is_named(text: str, says: str) -> None:
    """Else an hour of corrections is refused, and nobody knows why."""
    with pytest.raises(V2TError, match=re.compile(says)):
        corrected(TALK, text)


def test_a_kept_correction_changes_what_it_changed_and_nothing_else() -> None:
    """Else a retry that keeps a correction hides the words that it was made for, or loses the correction."""
    gap = Gap(chunk=1, start=30.0, end=40.0, reason="out of memory")
    original = transcript(*TALK.segments, gaps=(gap,))
    correction = changed(original, ("Ishmail", "Ishmael"))
    again = transcript(
        spoken(0.1, "So", "we", "begin", "with", "a", "snail"), TALK.segments[1], spoken(31.0, "At", "last")
    )
    later = carried(original, correction, again)
    assert [each.text for each in later.segments] == ["So we begin with Ishmael", "Thank you.", "At last"]
    assert later.gaps == ()  # the retry has filled it
    assert carried(original, original, again) == again
