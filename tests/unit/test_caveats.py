"""What we say about an incomplete transcript."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.transcript import Doubt, Gap, Segment, Sound, Track, Transcript, Truncated, Unheard
from tests.builders import transcript
from v2t_stream.jobs.caveats import caveats, emptiness
from v2t_stream.units import length

HEARD = "It was the best of times, it was the worst of times."


def record(text: str = HEARD, duration: float = 303.0, **more: Any) -> Transcript:
    return transcript(*([Segment(start=0, end=4, text=text)] if text else []), duration=duration, **more)


def sound(peak: float | None = -3.4, level: float | None = -20.2, speech: float = 0.0, *others: Track) -> Sound:
    return Sound(peak=peak, level=level, speech=speech, tracks=(Track(number=1, taken=True), *others))


def test_a_whole_transcript_has_none() -> None:
    """Who is warned each time does not read it when it matters."""
    assert caveats(record(sound=sound(speech=10))) == []
    assert caveats(record()) == []  # of an earlier release, which did not measure the sound


def test_a_recording_that_is_cut_off() -> None:
    """Half a recording passes for all of it."""
    (said,) = caveats(record(truncated=Truncated(declared=3723, decoded=1860)))
    assert said == "the file declares 1 h 2 min and ends at 31 min: the recording is cut off"


def test_each_reason_is_told_once_and_whole() -> None:
    """The user mends one cause, and the others are still there after the retry."""
    reasons = ("out of memory", "the model is damaged", "out of memory")
    gaps = tuple(Gap(chunk=n, start=30.0 * n, end=30.0 * n + 30, reason=reason) for n, reason in enumerate(reasons))
    assert caveats(record(gaps=gaps)) == [
        "2 chunks could not be transcribed (00:00 to 00:30, 01:00 to 01:30): out of memory",
        "1 chunk could not be transcribed (00:30 to 01:00): the model is damaged",
    ]


def test_places_are_named_and_counted_and_the_sentence_stays_short() -> None:
    """The user cannot find what is missing; or of a long recording gets a screen full of times."""
    gaps = tuple(Gap(chunk=n, start=30.0 * n, end=30.0 * n + 29, reason="out\nof memory") for n in range(2))
    unheard = (Unheard(start=3671.5, end=3675),)
    doubtful = tuple(Doubt(start=10.0 * n, end=10.0 * n + 5, reason="repeated 12 times") for n in range(6))
    assert caveats(record(gaps=gaps, unheard=unheard, doubtful=doubtful)) == [
        "2 chunks could not be transcribed (00:00 to 00:29, 00:30 to 00:59): out of memory",
        "no words were heard in 1 stretch of speech (1:01:11 to 1:01:15)",
        (
            "words in 6 places may never have been said (00:00 to 00:05: repeated 12 times, 00:10 to 00:15: repeated "
            "12 times, 00:20 to 00:25: repeated 12 times, 00:30 to 00:35: repeated 12 times, and 2 more)"
        ),
    ]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([Track(number=2)], "audio track 2 was not transcribed: --audio-track 2 picks it"),
        (
            [Track(number=2, language="deu", title="Kom\x1bmentar ")],
            'audio track 2 (deu, "Kom mentar") was not transcribed: --audio-track 2 picks it',
        ),
        (
            [Track(number=2, language="deu"), Track(number=3, title="x")],
            'audio tracks 2 (deu), 3 ("x") were not transcribed: --audio-track N picks another',
        ),
    ],
)
def test_tracks_that_were_not_listened_to(others: list[Track], said: str) -> None:
    """Nobody learns that the file has the speech in another language, too."""
    assert caveats(record(sound=sound(-3, -20, 10, *others))) == [said]


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (
            sound(None, None),
            (
                "no words were heard: the recording is digital silence, no speech was detected in 5 min 3 s; "
                "check how it was recorded"
            ),
        ),
        (
            sound(-62.4, -80.1),
            (
                "no words were heard: the recording is very quiet (peak -62 dBFS, level -80 dBFS), "
                "no speech was detected in 5 min 3 s; try a lower --vad-threshold"
            ),
        ),
        (
            sound(-40, None),
            (
                "no words were heard: the recording is quiet (peak -40 dBFS), "
                "no speech was detected in 5 min 3 s; try a lower --vad-threshold"
            ),
        ),
        (
            sound(-3.4, -20.2, 12.04),
            (
                "no words were heard: the recording is loud enough (peak -3 dBFS, level -20 dBFS), "
                "12 s of 5 min 3 s was detected as speech; try a larger --model"
            ),
        ),
        (
            Sound(peak=-3.4),
            (
                "no words were heard: the recording is loud enough (peak -3 dBFS), "
                "all 5 min 3 s were transcribed, without a voice detector; try a larger --model"
            ),
        ),
        (
            sound(None, None, 0.0, Track(number=3, language="fra")),
            (
                "no words were heard: the recording is digital silence, no speech was detected in 5 min 3 s, "
                "audio track 3 (fra) was not transcribed; try --audio-track 3"
            ),
        ),
    ],
)
def test_an_empty_transcript_says_what_there_was_to_hear(heard: Sound, said: str) -> None:
    """Success with nothing, and no word of why or what to do."""
    assert caveats(record("", sound=heard)) == [said]


def test_an_empty_transcript_of_an_earlier_release() -> None:
    """What was not measured is made up."""
    assert caveats(record("")) == ["no words were heard in 5 min 3 s of media"]


def test_no_words_yet_is_not_no_words() -> None:
    """A job that has just begun is told to be empty."""
    assert caveats(record("", sound=sound(-62.0)), finished=False) == []


@pytest.mark.parametrize(("text", "is_few"), [("Yes.", True), ("你好吗", True), ("", True), (HEARD, False)])
def test_hardly_any_words_for_much_speech(text: str, is_few: bool) -> None:  # noqa: FBT001  # a column of the table
    """An engine that gave up after the first word passes for one that heard all."""
    assert emptiness(record(text, sound=sound(speech=60))).startswith(("hardly any", "no words")) is is_few


@pytest.mark.parametrize("text", ["Yes.", "好", "ใช่"])
def test_a_word_is_enough_for_a_word_of_speech(text: str) -> None:
    """A short answer, or one in a script without blanks, is told to be nearly nothing."""
    assert emptiness(record(text, sound=sound(speech=1.5))) == ""


def test_speech_in_gaps_is_not_missed_twice() -> None:
    """An engine's failure is blamed on the recording."""
    gap = Gap(chunk=1, start=10, end=290, reason="out of memory")
    said = caveats(record(sound=sound(speech=290), gaps=(gap,)))
    assert said == ["1 chunk could not be transcribed (00:10 to 04:50): out of memory"]


@given(
    text=st.text(max_size=200),
    heard=st.none()
    | st.builds(
        Sound,
        peak=st.none() | st.floats(-120, 0),
        level=st.none() | st.floats(-120, 0),
        speech=st.floats(0, 1e5),
        tracks=st.lists(
            st.builds(Track, number=st.integers(1, 40), language=st.text(), title=st.text(), taken=st.booleans()),
            max_size=6,
        ).map(tuple),
    ),
    declared=st.none() | st.floats(0, 1e5),
    reason=st.none() | st.text(),
)
def test_each_caveat_is_a_line_whatever_the_file_says(
    text: str, heard: Sound | None, declared: float | None, reason: str | None
) -> None:
    """A track's title, or a model's words, move the cursor or break the sentence; and nothing passes for whole."""
    gaps = () if reason is None else (Gap(chunk=0, start=0, end=1, reason=reason),)
    truncated = None if declared is None else Truncated(declared=declared, decoded=1)
    found = caveats(record(text, sound=heard, truncated=truncated, gaps=gaps))
    assert all(sentence and "\n" not in sentence and "\x1b" not in sentence for sentence in found)
    assert len(found) >= bool(gaps) + bool(truncated) + (not any(map(str.isalnum, text)))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (4.24, "4.2 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (65.4, "1 min 5 s"),
        (3599.7, "1 h"),
        (3723, "1 h 2 min"),
        (90000, "25 h"),
    ],
)
def test_lengths_are_written_as_people_say_them(seconds: float, said: str) -> None:
    """The user reads 3723.04 and has to divide."""
    assert length(seconds) == said
