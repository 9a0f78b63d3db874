"""Each format has a small reader that parses it back."""

import html
import re
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.transcript import Gap, Segment, Transcript, Truncated, Unheard, Word
from tests.builders import transcript
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.formats import FORMATS, render


class Cue(NamedTuple):
    start: int  # milliseconds
    end: int
    text: str


def said(start: float, end: float, text: str) -> Segment:
    return Segment(start=start, end=end, text=text)


def milliseconds(clock: str) -> int:
    hours, minutes, seconds, thousandths = re.split("[:,.]", clock)
    assert len(hours) >= 2
    assert [len(part) for part in (minutes, seconds, thousandths)] == [2, 2, 3]
    assert int(minutes) < 60
    assert int(seconds) < 60
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(thousandths)


def cue(times: str, point: str, text: str) -> Cue:
    match = re.fullmatch(rf"(\d+:\d\d:\d\d\{point}\d\d\d) --> (\d+:\d\d:\d\d\{point}\d\d\d)", times)
    assert match
    return Cue(milliseconds(match[1]), milliseconds(match[2]), text)


def read_srt(srt: str) -> list[Cue]:
    assert "\r" not in srt
    cues = []
    for number, block in enumerate(srt.split("\n\n") if srt else [], 1):
        index, times, text = block.removesuffix("\n").split("\n")
        assert index == str(number)
        assert "-->" not in text
        cues.append(cue(times, ",", text))
    return cues


def read_vtt(vtt: str) -> list[Cue]:
    header, *blocks = vtt.removesuffix("\n").split("\n\n")
    assert header.split("\n")[0] == "WEBVTT"
    assert "-->" not in header
    cues = []
    for block in blocks:
        times, text = block.split("\n")
        assert not set(text) & set("<>")
        cues.append(cue(times, ".", html.unescape(text)))
    return cues


NASTY = st.one_of(
    st.text(st.characters(), max_size=40),
    st.lists(
        st.sampled_from(
            (
                *("a", "b", "42", "字幕", "\u00a0", "NOTE", "WEBVTT", "00:00:01,000"),
                *("-->", "--->", "->", "<", ">", "&", "&amp;", "<i>", "{\\an8}", "[00:01.00]", "<00:01.00>", "]"),
                *(" ", "\n", "\r\n", "\n\n", "\t", "\x00", "\x85", "\u2028", "\u2029", "\ufeff", "\ud800"),
                *("\x1b[31m", "\x1b]0;title\x07", "\x1b", "\x9b", "\u202e", "\u2066", "\u0645\u200c\u062e"),
            )
        )
    ).map("".join),
)
SECONDS = st.floats(0, 500_000)
SEGMENTS = st.lists(st.builds(said, SECONDS, SECONDS, NASTY), max_size=8)
GAPS = st.lists(
    st.builds(lambda start, end, reason: Gap(chunk=1, start=start, end=end, reason=reason), SECONDS, SECONDS, NASTY),
    max_size=3,
)


@given(SEGMENTS, GAPS, NASTY)
@example([said(59.9995, 60.0004, "a"), said(3599.9999, 360_000, "b")], [], "en")
@example([said(1, 1, "--->"), said(1, 0, "1\n\n00:00:01,000 --> 00:00:02,000\nx")], [], "--->")
def test_srt_and_vtt_read_back(segments: list[Segment], gaps: list[Gap], language: str) -> None:
    whole = transcript(*segments, gaps=tuple(gaps), language=language)
    lines = render(whole, "txt").split("\n")[:-1]
    starts = {round(segment.start * 1000) for segment in segments} | {round(gap.start * 1000) for gap in gaps}
    for cues in (read_srt(render(whole, "srt")), read_vtt(render(whole, "vtt"))):
        assert len(cues) == len(lines)
        assert all(cue.end > cue.start for cue in cues)
        assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
        assert {cue.start for cue in cues} <= starts
    assert [cue.text for cue in read_vtt(render(whole, "vtt"))] == lines


@given(SEGMENTS, GAPS)
def test_times_are_kept_to_the_millisecond(segments: list[Segment], gaps: list[Gap]) -> None:
    named = [said(segment.start, segment.end, f"words {number}") for number, segment in enumerate(segments)]
    whole = transcript(*named, gaps=tuple(gaps))
    for cues in (read_srt(render(whole, "srt")), read_vtt(render(whole, "vtt"))):
        assert len(cues) == len(named) + len(gaps)
        found = {cue.text: cue for cue in cues}
        for segment in named:
            cue = found[segment.text]
            assert abs(cue.start / 1000 - segment.start) <= 0.001
            assert abs(cue.end / 1000 - max(segment.end, segment.start + 0.001)) <= 0.00151


@given(SEGMENTS, GAPS, NASTY)
def test_the_line_formats_have_one_line_a_segment(segments: list[Segment], gaps: list[Gap], title: str) -> None:
    whole = msgspec.structs.replace(transcript(*segments, gaps=tuple(gaps)), title=title)
    spoken = len(render(transcript(*segments), "txt").split("\n")) - 1
    for name in ("srt", "vtt", "txt", "tsv", "lrc"):
        text = render(whole, name)
        assert text.encode().decode() == text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    tsv = render(whole, "tsv").split("\n")
    assert tsv[0] == "start\tend\ttext"
    assert tsv[-1] == ""
    assert len(tsv) == spoken + 2
    for row in tsv[1:-1]:
        start, end, text = row.split("\t")
        assert int(start) < int(end)
        assert text
    lyrics = [line for line in render(whole, "lrc").split("\n") if line and not line.startswith("[ti:")]
    assert len(lyrics) == spoken
    for line in lyrics:
        assert re.match(r"\[\d{2,}:[0-5]\d\.\d\d\]", line)
        assert len(re.findall(r"[\[<]\d+:[\d:.]*[\]>]", line)) == 1


def test_each_format_looks_as_its_users_expect() -> None:
    whole = transcript(
        said(61.0, 62.5, " Tom & <Jerry>,"),
        said(0.0, 59.9996, "Hello --> world"),
        said(360_000, 360_001.25, "late"),
        said(63, 64, " \n "),
        gaps=(Gap(chunk=3, start=60.0, end=61.0, reason="the engine\nfailed"),),
    )
    assert render(whole, "srt") == (
        "1\n00:00:00,000 --> 00:01:00,000\nHello -> world\n\n"
        "2\n00:01:00,000 --> 00:01:01,000\n[missing: the engine failed]\n\n"
        "3\n00:01:01,000 --> 00:01:02,500\nTom & <Jerry>,\n\n"
        "4\n100:00:00,000 --> 100:00:01,250\nlate\n"
    )
    assert render(whole, "vtt") == (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.000 --> 00:01:00.000\nHello --&gt; world\n\n"
        "00:01:00.000 --> 00:01:01.000\n[missing: the engine failed]\n\n"
        "00:01:01.000 --> 00:01:02.500\nTom &amp; &lt;Jerry&gt;,\n\n"
        "100:00:00.000 --> 100:00:01.250\nlate\n"
    )
    assert render(whole, "txt") == "Hello --> world\n[missing: the engine failed]\nTom & <Jerry>,\nlate\n"
    assert render(whole, "tsv") == (
        "start\tend\ttext\n0\t60000\tHello --> world\n61000\t62500\tTom & <Jerry>,\n360000000\t360001250\tlate\n"
    )
    assert render(whole, "lrc") == (
        "[ti:Talk]\n[00:00.00]Hello --> world\n[01:01.00]Tom & <Jerry>,\n[6000:00.00]late\n"
    )


def test_a_transcript_that_is_not_whole_says_so_where_words_are_missing() -> None:
    """Who reads along takes speech that was not heard for silence, and half a recording for all of it."""
    whole = transcript(said(0, 2, "Hello."), said(9, 11, "Bye."))
    partial = msgspec.structs.replace(
        whole, unheard=(Unheard(start=3.5, end=8.25),), truncated=Truncated(declared=3723, decoded=11.5)
    )
    assert render(partial, "srt") == (
        "1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n"
        "2\n00:00:03,500 --> 00:00:08,250\n[missing: speech in which no words were heard]\n\n"
        "3\n00:00:09,000 --> 00:00:11,000\nBye.\n\n"
        "4\n00:00:11,500 --> 01:02:03,000\n[missing: the recording ends here, at 11.5 s of 1 h 2 min]\n"
    )
    assert render(partial, "txt") == (
        "Hello.\n[missing: speech in which no words were heard]\nBye.\n"
        "[missing: the recording ends here, at 11.5 s of 1 h 2 min]\n"
    )
    assert [cue.text for cue in read_vtt(render(partial, "vtt"))] == render(partial, "txt").splitlines()
    for programs in ("tsv", "lrc"):
        assert render(partial, programs) == render(whole, programs)
    assert msgspec.json.decode(render(partial, "json"), type=Transcript) == partial


def test_json_is_the_record_itself() -> None:
    words = (Word(start=0.5, end=1, text="语", probability=0.5),)
    whole = transcript(Segment(start=0.5, end=1, text="语\u2028", words=words))
    text = render(whole, "json")
    assert msgspec.json.decode(text, type=Transcript) == whole
    assert "语" in text
    assert text.count("\n") > 10


def test_a_translation_is_in_english() -> None:
    assert "Language: en\n" in render(transcript(language="zh", task="translate"), "vtt")
    assert "Language: zh\n" in render(transcript(language="zh"), "vtt")


def test_nothing_said() -> None:
    empty = transcript(language=None)
    assert {name: render(empty, name) for name in FORMATS if name not in ("json", "ass", "ttml")} == {
        "srt": "",
        "vtt": "WEBVTT\n",
        "txt": "",
        "tsv": "start\tend\ttext\n",
        "lrc": "[ti:Talk]\n",
        "md": "# Talk\n",
    }
    assert "Dialogue" not in render(empty, "ass")
    assert "<p" not in render(empty, "ttml")
    assert msgspec.json.decode(render(empty, "json"), type=Transcript) == empty


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'docx'.*json, srt, vtt, txt, tsv, lrc, ass, ttml, md"):
        render(transcript(), "docx")
