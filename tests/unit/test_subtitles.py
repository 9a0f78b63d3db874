"""Words become cues within the limits of a style, and the checker finds what breaks them."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.transcript import Gap, Segment, Transcript, Unheard, Word
from tests.builders import transcript
from v2t_stream.errors import ObjectMissing, SettingsError
from v2t_stream.jobs.formats import render
from v2t_stream.jobs.written import written
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.subtitles.breaks import Grammar
from v2t_stream.subtitles.check import problems
from v2t_stream.subtitles.reading import Read, read
from v2t_stream.subtitles.shape import LINGER
from v2t_stream.subtitles.style import BROADCAST, SOCIAL, Style
from v2t_stream.subtitles.width import columns, letters

DATA = Path(__file__).parents[1] / "data"
STYLES = {"broadcast": BROADCAST, "social": SOCIAL}


def novel() -> Transcript:
    """Real speech with the times of its sentences."""
    sentences = json.loads((DATA / "real/moby.json").read_text())
    return transcript(*(Segment(**sentence) for sentence in sentences))


def timed(text: str, start: float = 1.0, pace: float = 0.3) -> Segment:
    """A segment whose words follow each other every `pace` seconds."""
    words = tuple(
        Word(start=start + pace * n, end=start + pace * (n + 0.9), text=word) for n, word in enumerate(text.split())
    )
    return Segment(start=start, end=words[-1].end, text=text, words=words)


def shaped(whole: Transcript, style: Style) -> tuple[Read, ...]:
    return read(render(whole, "srt", style=style)).cues


@pytest.mark.parametrize("name", STYLES)
def test_subtitles_of_real_speech_need_no_repair(name: str) -> None:
    """Else an editor has to go over every file by hand."""
    style = STYLES[name]
    text = render(novel(), "srt", style=style)
    assert [f"{found.cue.name}: {found.reason}" for found in problems(read(text), style, "en")] == []
    said = " ".join(segment.text for segment in novel().segments)
    assert " ".join(" ".join(cue.lines) for cue in read(text).cues).split() == said.split()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Ann: Yes.", 4),
        ("Ben Smith:\u00a0Yes.", 4),
        ("Speaker A: Yes.", 4),
        ("note: Yes.", 10),
        ("At 10: Yes.", 11),
        ("是的。", 6),
    ],
)
def test_the_name_of_a_speaker_takes_no_time_to_read(text: str, count: int) -> None:
    """Else every short answer is too fast as soon as it has a name."""
    assert letters(text) == count


def test_the_default_subtitles_stay_as_they_were() -> None:
    """Else every program that reads them sees other cues after an upgrade."""
    whole = novel()
    assert [" ".join(cue.lines) for cue in read(render(whole, "srt")).cues] == [said.text for said in whole.segments]


def test_a_line_breaks_where_a_reader_would_pause() -> None:
    """Else an article stands at the end of a line, without its noun."""
    cues = shaped(
        transcript(timed("He walked along the river because the bridge to the old town was closed.")), BROADCAST
    )
    assert [cue.lines for cue in cues] == [
        ("He walked along the river",),
        ("because the bridge", "to the old town was closed."),
    ]


def test_a_lone_word_does_not_get_a_cue_of_its_own() -> None:
    """Else the last word of a sentence flashes by (what a greedy breaker leaves)."""
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    cues = shaped(transcript(timed(text)), BROADCAST)
    assert len(cues) == 2
    assert min(len(" ".join(cue.lines)) for cue in cues) >= 20


def test_a_short_answer_stays_long_enough_to_be_read() -> None:
    answer = Segment(start=20, end=20.2, text="Yes.", words=(Word(start=20, end=20.2, text="Yes."),))
    (cue,) = shaped(transcript(answer), BROADCAST)
    assert cue.end - cue.start >= 833


def test_full_width_text_has_at_most_sixteen_characters_a_line() -> None:
    """Else Chinese and Japanese subtitles run out of the picture."""
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
    cues = shaped(transcript(Segment(start=0, end=12, text=text), language="ja"), BROADCAST)
    lines = [line for cue in cues for line in cue.lines]
    assert max(map(len, lines)) <= 16
    assert "".join(lines) == text
    assert not [line for line in lines if line[0] in "。、ょっ"]
    assert (
        list(problems(read(render(transcript(Segment(start=0, end=12, text=text)), "srt", style=BROADCAST)), BROADCAST))
        == []
    )


def test_a_word_wider_than_a_line_is_cut() -> None:
    cues = shaped(
        transcript(timed("Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikantenverband"), language="de"),
        BROADCAST,
    )
    assert max(columns(line) for cue in cues for line in cue.lines) <= 42


def test_notes_about_missing_words_stay_in_every_style() -> None:
    """Else a reader takes what is missing for silence."""
    whole = replace(
        transcript(timed("Before it.", 1), timed("After it.", 60)),
        gaps=(Gap(chunk=1, start=5, end=35, reason="the engine failed, and so did the one after it"),),
        unheard=(Unheard(start=40, end=41),),
    )
    cues = shaped(whole, BROADCAST)
    text = " ".join(" ".join(cue.lines) for cue in cues)
    assert text.index("Before") < text.index("[missing: the engine failed, and so did") < text.index("[missing: speech")
    assert list(problems(read(render(whole, "srt", style=BROADCAST)), BROADCAST)) == []


WORDS = st.lists(
    st.tuples(
        st.text(st.sampled_from("abcÅ世。,.!?'- "), min_size=1, max_size=60),
        st.floats(0, 4),  # seconds since the previous word began
        st.floats(0, 9),  # seconds that it lasts
    ),
    min_size=1,
    max_size=25,
)
STYLE = st.builds(
    Style,
    max_line_width=st.integers(8, 60),
    max_lines=st.integers(1, 4),
    max_cps=st.floats(5, 40),
    min_cue=st.floats(0, 1),
    max_cue=st.floats(1, 8),
    min_gap=st.sampled_from([None, 0, 0.1]),
    fps=st.sampled_from([None, 23.976, 25, 60]),
)


@given(WORDS, STYLE)
@example([("a", 0, 0), ("b", 0, 0), ("c", 0, 0)], BROADCAST)
def test_cues_hold_whatever_an_engine_heard(words: list[tuple[str, float, float]], style: Style) -> None:
    """Else a strange engine's times make cues that overlap, or words that are lost."""
    clock = 0.0
    heard = []
    for text, since, lasts in words:
        clock += since
        heard.append(Word(start=clock, end=clock + lasts, text=text.strip() or "a"))
    whole = transcript(
        Segment(start=heard[0].start, end=heard[-1].end, text=" ".join(word.text for word in heard), words=tuple(heard))
    )
    cues = shaped(whole, style)
    written = "".join(line for cue in cues for line in cue.lines)
    assert re.sub(r"\s", "", written) == re.sub(r"\s", "", whole.segments[0].text)
    for cue in cues:
        assert cue.end > cue.start
        assert 1 <= len(cue.lines) <= style.max_lines
        assert max(map(columns, cue.lines)) <= style.max_line_width
    for before, after in pairwise(cues):
        assert after.start >= before.end + style.gap * 1000 - 1
    assert cues[0].start >= heard[0].start * 1000 - 1


@given(WORDS)
def test_a_cue_does_not_outstay_its_words(words: list[tuple[str, float, float]]) -> None:
    clock = 0.0
    segments = []
    for _, since, lasts in words:
        clock += since
        segments.append(
            Segment(
                start=clock,
                end=clock + lasts,
                text="hello",
                words=(Word(start=clock, end=clock + lasts, text="hello"),),
            )
        )
        clock += lasts
    for cue in shaped(transcript(*segments), BROADCAST):
        last = max(said.end for said in segments if said.start * 1000 <= cue.end)
        assert cue.end <= max((last + LINGER) * 1000, cue.start + BROADCAST.min_cue * 1000) + 1


def test_highlighted_words_carry_their_times() -> None:
    whole = transcript(timed("Call me <Ishmael>."))
    assert "Call <00:00:01.300>me <00:00:01.600>&lt;Ishmael&gt;." in render(whole, "vtt", highlight=True)
    dialogue = render(whole, "ass", style=BROADCAST, highlight=True).splitlines()[-1]
    assert dialogue.endswith(r"{\k30}Call {\k30}me {\k77}<Ishmael>.".replace(" {", " {"))


def test_words_are_not_marked_unless_asked() -> None:
    whole = transcript(timed("Call me Ishmael."))
    assert "<00" not in render(whole, "vtt", style=BROADCAST)
    assert r"{\k" not in render(whole, "ass")


def test_text_cannot_break_out_of_its_format() -> None:
    """Else a title or a sentence from a stranger runs a player's commands or breaks the file."""
    whole = transcript(timed(r"{\fs200}big\Nline </p><p> & ]]>"), title='"</ttm:title>\ufffe')
    assert r"{\fs" not in render(whole, "ass")
    assert r"\Nline" not in render(whole, "ass")
    root = ET.fromstring(render(whole, "ttml"))  # noqa: S314  our own
    (paragraph,) = root.iter("{http://www.w3.org/ns/ttml}p")
    assert paragraph.text == whole.segments[0].text


def test_markdown_shows_words_as_they_were_said() -> None:
    """Else part of a sentence turns bold or vanishes; or every full stop has a backslash for whoever reads the file."""
    said = "Well - [yes] 2*3 is a_b, <br> #1! (No & co.)"
    shown = r"Well - \[yes\] 2\*3 is a\_b, \<br\> \#1! (No \& co.)"
    assert render(transcript(Segment(start=1, end=2, text=said)), "md").endswith(f"** {shown}\n")


def test_markdown_has_paragraphs_with_times() -> None:
    whole = transcript(timed("First.", 1), timed("Second.", 1.5), timed("After a pause.", 3_700))
    assert render(whole, "md") == "# Talk\n\n**00:00:01** First. Second.\n\n**01:01:40** After a pause.\n"


BAD = """\
1
00:00:01,000 --> 00:00:01,400
Too short.

2
00:00:01,420 --> 00:00:12,000
<i>This line is very much too long to be read by anyone.</i>

3
00:00:11,000 --> 00:00:13,000
He gave it to the
old man,
and left.

4
00:00:14,000 --> 00:00:15,000
Nobody can read this many letters, a second.

5
00:00:14,500 --> 00:00:14,000

"""


def test_each_problem_of_somebody_elses_file_is_told_with_its_cue() -> None:
    """Else they must find it by eye."""
    told = [(found.cue.name, found.cue.line, found.reason) for found in problems(read(BAD), BROADCAST, "en")]
    assert told == [
        ("1", 2, "it stays 0.4 s, less than 0.83 s"),
        ("1", 2, "25.0 letters a second are more than 20"),
        ("2", 6, "it stays 10.58 s, more than 7 s"),
        ("2", 6, "line 1 is 53 letters wide, more than 42"),
        ("3", 10, "3 lines are more than 2"),
        ("3", 10, "a line ends with 'the', which belongs to the word after it"),
        ("4", 16, "44.0 letters a second are more than 20"),
        ("4", 16, "line 1 is 44 letters wide, more than 42"),
        ("5", 20, "it ends before it starts"),
        ("5", 20, "it has no text"),
        ("2", 6, "it starts 0.02 s after cue 1, less than 0.083 s"),
        ("3", 10, "it starts 1 s before cue 2 ends"),
        ("5", 20, "it starts 0.5 s before cue 4 ends"),
    ]


def test_webvtt_is_read_with_all_it_may_hold() -> None:
    text = (
        "\ufeffWEBVTT - a title\r\nLanguage: de-AT\r\n\r\nNOTE\r\nnot a cue\r\n\r\nSTYLE\r\n::cue {}\r\n\r\n"
        "intro\r\n00:01.000 --> 00:02.500 align:start\r\n<v Anna>Hallo &amp; <00:01.500>tschüs</v>\r\n\r\n\r\n"
        "100:00:00.000 --> 100:00:01.000\r\nspät\r\n"
    )
    subtitles = read(text)
    assert subtitles.language == "de-AT"
    assert [(cue.name, cue.line, cue.start, cue.end, cue.lines) for cue in subtitles.cues] == [
        ("intro", 11, 1000, 2500, ("Hallo & tschüs",)),
        ("2", 15, 360_000_000, 360_001_000, ("spät",)),
    ]


def test_what_is_no_subtitle_file_is_told_with_the_line() -> None:
    with pytest.raises(SettingsError, match="line 2 is not the time of a cue"):
        read("1\nhello\n")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("said. Then", "river, because"),
        ("river, because", "bridge because"),
        ("bridge because", "man of"),
        ("man of", "old town"),
        ("old town", "to him"),
        ("to him", "the town"),
        ("old town", "Mr. Darcy"),
    ],
)
def test_a_better_place_for_a_break_costs_less(better: str, worse: str) -> None:
    grammar = Grammar("en")
    assert grammar.cost(*better.split()) < grammar.cost(*worse.split())


class OldStore:
    """Holds what the release before stored: it did not know all formats."""

    def __init__(self, record: Transcript) -> None:
        self._objects = {"p.json": msgspec.json.encode(record), "p.srt": b"as it was stored"}

    async def get(self, key: str) -> bytes:
        if key not in self._objects:
            raise ObjectMissing(key)
        return self._objects[key]


async def test_a_transcript_of_the_release_before_is_written_in_new_formats_and_styles() -> None:
    """Else everything has to be transcribed again for subtitles."""
    store = cast("ObjectStore", OldStore(novel()))
    assert await written(store, "p", "srt") == "as it was stored"
    assert await written(store, "p", "ttml") == render(novel(), "ttml")
    assert await written(store, "p", "srt", style=BROADCAST) == render(novel(), "srt", style=BROADCAST)
    with pytest.raises(ObjectMissing):
        await written(store, "expired", "json")
