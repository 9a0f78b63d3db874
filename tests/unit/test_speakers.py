"""Who speaks when: voices of windows become people, and words theirs."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from schemas.chunks import SAMPLE_RATE, Span
from schemas.options import Options
from schemas.speakers import Voice, Window
from schemas.transcript import Segment, Speaker, Word
from schemas.voices import KnownVoice
from tests.builders import chunk, converted, stored, submitted, transcript
from tests.diarization import Recording, Said, error_rate, in_turn, meetings
from tests.harness import DATA
from v2t_stream.cli.convert import convert
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.formats import FORMATS, render
from v2t_stream.jobs.state import fold
from v2t_stream.speakers.clusters import ANY, Number, centres, speakers
from v2t_stream.speakers.embedding import as_bytes
from v2t_stream.speakers.labels import labelled, letters, number
from v2t_stream.speakers.listening import windows
from v2t_stream.speakers.naming import named, recognized, resembling
from v2t_stream.speakers.timeline import turns
from v2t_stream.subtitles.style import BROADCAST


def found(recording: Recording, folder: Path, wanted: Number = ANY) -> list[Said]:
    """The turns that are found in a recording which is cut into chunks as that of a job."""
    heard = [window for spans in recording.cut(folder) for window in windows(recording.of(spans), spans)]
    return [Said(turn.start, turn.end, str(turn.speaker)) for turn in turns(heard, speakers(heard, wanted))]


def sentences(count: int) -> list[str]:
    told = [text for each in json.loads((DATA / "real/moby.json").read_text()) if len(text := each["text"]) > 30]
    return [told[place % len(told)][:90] for place in range(1, count + 1)]


def test_people_in_meetings_are_told_apart(tmp_path: Path) -> None:
    """Else minutes of a meeting give words to those who did not say them."""
    assert error_rate([(meeting, found(meeting, tmp_path)) for meeting in meetings().values()]) <= 0.21


@pytest.mark.parametrize("people", [2, 3, 4])
def test_voices_in_turn_are_counted_and_told_apart(people: int, tmp_path: Path) -> None:
    """Else an interview has a third person, or one in place of two."""
    recording = in_turn(people, sentences(15 * people))
    heard = found(recording, tmp_path)
    assert len({turn.speaker for turn in heard}) == people
    assert error_rate([(recording, heard)]) <= 0.05


def voice(direction: int, start: float, end: float, noise: int = 0, person: int = 0) -> Voice:
    """A voice whose embedding points in one of 192 directions."""
    vector = np.zeros(192, np.int8)
    vector[direction] = 120
    vector[100 + noise] = 40
    return Voice(person, ((int(start * SAMPLE_RATE), int((end - start) * SAMPLE_RATE)),), end - start, vector.tobytes())


def window(start: float, *voices: Voice) -> Window:
    return Window(int(start * SAMPLE_RATE), 10 * SAMPLE_RATE, voices)


def test_two_voices_of_one_window_are_never_one_person() -> None:
    """Else two people who talk at once become one."""
    heard = [
        window(10.0 * n, voice(0, 10 * n, 10 * n + 4), voice(0, 10 * n + 5, 10 * n + 9, person=1)) for n in range(5)
    ]
    assert all(one != two for one, two in speakers(heard))


def test_people_are_numbered_in_the_order_in_which_they_speak() -> None:
    heard = [window(0, voice(5, 1, 4)), window(10, voice(3, 11, 14)), window(20, voice(5, 21, 24))]
    assert speakers(heard) == [(0,), (1,), (0,)]


@pytest.mark.parametrize(("wanted", "people"), [("auto", 4), ("2", 2), ("6", 6), ("2-3", 3), ("3-9", 4)])
def test_the_number_of_people_is_as_asked(wanted: str, people: int) -> None:
    heard = [window(10.0 * n, voice(n % 4, 10 * n, 10 * n + 5, noise=n % 7)) for n in range(40)]
    assert len({speaker for each in speakers(heard, number(wanted)) for speaker in each}) == people


def test_a_short_voice_goes_to_the_nearest_person() -> None:
    """Else every cough is a person of its own."""
    heard = [window(0, voice(0, 0, 4)), window(10, voice(1, 10, 14)), window(20, voice(1, 20, 20.5, noise=3))]
    assert speakers(heard) == [(0,), (1,), (1,)]


def test_a_voice_without_an_embedding_is_nobodys() -> None:
    silent = Voice(1, ((0, 100),), 0.0, b"")
    assert speakers([window(0, silent, voice(0, 1, 4))]) == [(-1, 0)]
    assert speakers([window(0)]) == [()]
    assert speakers([]) == []


def test_a_day_of_voices_is_matched_stretch_by_stretch() -> None:
    """Else ten hours take the memory and the time of a square."""
    heard = [window(5.0 * n, voice(n % 3, 5 * n, 5 * n + 4, noise=n % 50)) for n in range(3500)]
    assert [each[0] for each in speakers(heard)] == [n % 3 for n in range(3500)]


def said(text: str, start: float) -> Segment:
    words = tuple(Word(start=start + n, end=start + n + 0.8, text=word) for n, word in enumerate(text.split()))
    return Segment(start=start, end=words[-1].end, text=text, words=words)


def test_a_segment_is_split_where_somebody_else_goes_on() -> None:
    """Else the answer stands in the mouth of the one who asked."""
    heard = [window(0, voice(0, 0, 3), voice(1, 3, 8)), window(10, voice(0, 10, 14))]
    parts, people = labelled([said("How are you? Fine, thanks, and you?", 0), said("Fine as well.", 10)], heard, "auto")
    assert [(part.speaker, part.text, part.start, part.end, len(part.words)) for part in parts] == [
        ("A", "How are you?", 0, 2.8, 3),
        ("B", "Fine, thanks, and you?", 3, 6.8, 4),
        ("A", "Fine as well.", 10, 12.8, 3),
    ]
    assert [each.label for each in people] == ["A", "B"]


def test_no_lone_word_changes_hands() -> None:
    """Else a word of a sentence is somebody else's, because they coughed."""
    before, after = (voice(0, *times).turns[0] for times in ((0, 3), (4, 9)))
    sentence = Voice(0, (before, after), 8, voice(0, 0, 3).embedding)
    heard = [window(0, sentence, voice(1, 3, 4)), window(20, voice(1, 20, 25))]
    (part,), _ = labelled([said("one two three four five six", 0)], heard, "auto")
    assert part.speaker == "A"


def test_what_nobody_nearby_said_has_no_speaker() -> None:
    (part,), people = labelled([said("far away", 50)], [window(0, voice(0, 0, 3))], "auto")
    assert part.speaker == ""
    assert people == ()


def test_letters_go_on_after_z() -> None:
    assert [letters(place) for place in (0, 25, 26, 51, 52, 701)] == ["A", "Z", "AA", "AZ", "BA", "ZZ"]


def test_every_format_says_who_speaks() -> None:
    """Else labels are lost on the way to the reader."""
    whole = transcript(
        replace(said("How are you?", 0), speaker="A"),
        replace(said("And you?", 4), speaker="A"),
        replace(said("Fine.", 8), speaker="B"),
        speakers=(Speaker(label="A"), Speaker(label="B", name="Ann <x>, MD")),
    )
    assert render(whole, "txt") == "Speaker A: How are you?\nAnd you?\nAnn <x>, MD: Fine.\n"
    assert "<v Speaker A>How are you?" in render(whole, "vtt")
    assert "<v Ann &lt;x&gt;, MD>Fine." in render(whole, "vtt")
    assert "**Speaker A, 00:00:00** How are you? And you?" in render(whole, "md")
    for format_ in FORMATS:
        assert "Ann" in render(whole, format_)
    cues = render(whole, "srt", style=BROADCAST).split("\n\n")
    assert [cue.split("\n", 2)[2].strip() for cue in cues] == [
        "Speaker A: How are you?",
        "And you?",
        "Ann <x>, MD: Fine.",
    ]


def person(direction: int, name: str = "", label: str = "") -> Speaker:
    return Speaker(label=label, name=name, voice=voice(direction, 0, 1).embedding)


def test_names_follow_voices_and_not_labels() -> None:
    """Else a retry that hears somebody else first gives everybody another's name."""
    heard = [person(3, label="A"), person(5, label="B"), person(7, label="C")]
    found = named(heard, [person(5, "Ben"), person(3, "Ann"), person(90, "nobody here")])
    assert [(each.label, each.name) for each in found] == [("A", "Ann"), ("B", "Ben"), ("C", "")]
    assert named([], [person(5, "Ben")]) == ()
    assert named(heard, []) == tuple(heard)


def known(name: str, voice: bytes, model: str = "campplus") -> KnownVoice:
    return KnownVoice(name=name, voice=voice, model=model, job="job", speaker="A", by="me@here")


def between(one: int, two: int, share: float) -> bytes:
    """A voice between two directions, as near to the first as `share` says: its cosine with it."""
    vector = np.zeros(192)
    vector[one], vector[two] = share, (1 - share**2) ** 0.5
    return np.rint(127 * vector).astype(np.int8).tobytes()


def test_a_known_person_is_named_and_a_stranger_is_not() -> None:
    """Else a transcript says that somebody spoke who was not there."""
    library = [known("Ann", between(3, 4, 1)), known("Ben", between(5, 6, 1))]
    heard = [Speaker(label="A", voice=between(5, 50, 0.8)), Speaker(label="B", voice=between(3, 60, 0.4))]
    assert [each.name for each in recognized(heard, library)] == ["Ben", ""]
    assert recognized(heard, []) == tuple(heard)
    assert recognized([], library) == ()


def test_who_sounds_like_two_people_or_is_two_people_is_not_guessed() -> None:
    """Else one of two brothers has the other's name."""
    library = [known("Ann", between(3, 5, 0.71)), known("Eve", between(5, 3, 0.71)), known("Ben", between(9, 1, 1))]
    heard = [person(3, label="A"), person(9, label="B"), Speaker(label="C", voice=between(9, 2, 0.7))]
    between_both = Speaker(label="D", voice=between(3, 5, 0.72))
    assert [each.name for each in recognized([*heard, between_both], library)] == ["", "Ben", "", ""]


def test_of_several_voices_of_a_person_the_nearest_counts() -> None:
    """Else a person who is also known from the telephone is no longer known from anywhere."""
    library = [known("Ann", between(3, 1, 1)), known("Ann", between(80, 1, 1)), known("Ben", between(5, 1, 1))]
    assert [each.name for each in recognized([person(80), person(5)], library)] == ["Ann", "Ben"]
    assert resembling(between(80, 2, 0.9), library) == {"Ann": True, "Ben": False}


def test_a_voice_of_another_model_names_nobody() -> None:
    """Else a release with a better model compares what cannot be compared."""
    library = [known("Ann", person(3).voice, model="older"), known("Ben", person(3).voice[:100], model="older")]
    assert [each.name for each in recognized([person(3)], library)] == [""]


def test_people_are_known_in_the_next_half_of_a_meeting_and_strangers_are_not() -> None:
    """Else real voices are nobody's or somebody else's."""
    heard = {name: windows(each.samples, [Span(0, each.samples.size)]) for name, each in meetings().items()}
    people = {}
    for name, found in heard.items():
        centre = centres(found, speakers(found))
        people[name] = [Speaker(label=letters(n), voice=as_bytes(each)) for n, each in enumerate(centre)]
    library = [known(each.label, each.voice) for each in people["dev00"]]
    assert [each.name for each in recognized(people["dev01"], library)][:2] == ["A", "B"]
    for name in ("trn03", "trn04"):
        assert {each.name for each in recognized(people[name], library)} == {""}


def test_the_labels_do_not_depend_on_who_did_which_chunk_or_when() -> None:
    """Else the same job has other speakers on three machines than on one."""
    voices = [(window(10.0 * n, voice(n % 3, 10 * n, 10 * n + 8)), said("one two three", 10 * n)) for n in range(9)]
    begun = [submitted(options=Options(speakers="auto")), converted(chunks=9)]
    chunks = [
        chunk(n, windows=(heard,), segments=(words,), node=f"m{n % 2}") for n, (heard, words) in enumerate(voices)
    ]
    ordered, shuffled = (assemble(fold("job", stored(*begun, *order))) for order in (chunks, chunks[::-1]))
    assert replace(ordered, timings={}) == replace(shuffled, timings={})
    assert [segment.speaker for segment in ordered.segments] == list("ABC" * 3)


def test_a_job_that_does_not_ask_has_no_speakers() -> None:
    record = assemble(fold("job", stored(submitted(), converted(), chunk(segments=(said("one two", 0),)))))
    assert record.speakers == ()
    assert b"speaker" not in msgspec.json.encode(record)


@pytest.mark.parametrize("wrong", ["0", "two", "3-", "talk.wav"])
def test_a_wrong_number_of_speakers_says_what_is_right(wrong: str) -> None:
    """Else --speakers in front of a file takes the file's name for the number, and says something about a regex."""
    ran = CliRunner().invoke(convert, ["--speakers", wrong, "talk.wav"])
    assert ran.exit_code == 2
    assert "is not auto, a number, or a range such as 2-5" in ran.output
    assert "put --speakers last" in ran.output


def test_speakers_without_a_number_means_any() -> None:
    context = convert.make_context("convert", ["talk.wav", "--speakers"])
    assert context.params["speakers"] == "auto"


def test_voices_are_asked_for_together_with_speakers() -> None:
    """Else --speakers takes the next option for its number, or the names are never looked for."""
    params = convert.make_context("convert", ["next.mp4", "--speakers", "--voices"]).params
    assert (params["speakers"], params["voices"], params["files"]) == ("auto", True, ("next.mp4",))


def test_voices_without_speakers_says_what_to_add() -> None:
    """Else somebody waits for an hour for names that nobody looked for."""
    ran = CliRunner().invoke(convert, ["talk.wav", "--voices"])
    assert str(ran.exception) == "voices names the speakers that a job looks for: add --speakers, or speakers: auto"
