"""Renders a transcript in the formats that people use; pure functions.

Times are rounded once to whole milliseconds and then split into hours, minutes and so on as integers: rounding the
seconds after the split gives 00:00:60,000. The text of a segment comes from a model or a third party and may hold
anything, so each format escapes what would be its own syntax.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from schemas.transcript import Segment, Speaker, Transcript, Truncated
from v2t_stream.errors import SettingsError
from v2t_stream.subtitles import writers
from v2t_stream.subtitles.cue import Cue
from v2t_stream.subtitles.cues import styled
from v2t_stream.subtitles.style import Style
from v2t_stream.subtitles.tokens import tokens
from v2t_stream.text import HARMFUL
from v2t_stream.units import length

_ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]")
_BLANKS: Final = re.compile(r"  +")  # but not the no-break spaces of French
_LRC_TAG: Final = re.compile(r"[\[<](\d+:[\d:.]*)[\]>]")
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>#|~&])")  # within a line, where full stops and hyphens are harmless
_PAUSE: Final = 2000  # milliseconds of silence before a new paragraph
_PARAGRAPH: Final = 600  # letters, after which the next sentence begins a new one
_SENTENCE_END: Final = re.compile(r"[.!?…。！？]\W*$")  # noqa: RUF001  marks of many scripts

UNHEARD: Final = "speech in which no words were heard"  # the reason that a gap shows


def _json(transcript: Transcript, _: Sequence[Cue]) -> str:
    text = msgspec.json.format(msgspec.json.encode(transcript)).decode()
    # The same when parsed as JSON, and harmless when printed on a terminal.
    return "\n".join(HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n")) + "\n"


def _srt(_: Transcript, cues: Sequence[Cue]) -> str:
    return writers.srt(cues)


def _vtt(transcript: Transcript, cues: Sequence[Cue]) -> str:
    return writers.vtt(cues, language=_language(transcript))


def _ass(transcript: Transcript, cues: Sequence[Cue]) -> str:
    return writers.ass(cues, title=_clean(transcript.title))


def _ttml(transcript: Transcript, cues: Sequence[Cue]) -> str:
    return writers.ttml(cues, title=_clean(transcript.title), language=_language(transcript))


def _txt(_: Transcript, cues: Sequence[Cue]) -> str:
    return "".join(f"{cue.text}\n" for cue in cues)


def _md(transcript: Transcript, cues: Sequence[Cue]) -> str:
    """Write Markdown: paragraphs, each with who speaks and the time at which it begins."""
    title = _clean(transcript.title)
    paragraphs = (
        f"**{_heading(part[0])}** {_as_written(' '.join(cue.text for cue in part))}\n" for part in _paragraphs(cues)
    )
    return "\n".join((*([f"# {_as_written(title)}\n"] if title else []), *paragraphs))


def _tsv(_: Transcript, cues: Sequence[Cue]) -> str:
    """Write what openai-whisper writes: milliseconds and text. Programs read it, so it leaves out what is missing."""
    rows = (f"{cue.start}\t{cue.end}\t{cue.text}\n" for cue in cues if not cue.is_missing)
    return "".join(("start\tend\ttext\n", *rows))


def _lrc(transcript: Transcript, cues: Sequence[Cue]) -> str:
    """Write lyrics: lines have no end time, minutes have no limit, and what is missing is left out."""
    title = _clean(transcript.title).translate({ord("["): "(", ord("]"): ")"})
    header = f"[ti:{title}]\n" if title else ""
    rows = (f"[{_lrc_clock(cue.start)}]{_without_tags(cue.text)}\n" for cue in cues if not cue.is_missing)
    return "".join((header, *rows))


FORMATS: Final[dict[str, Callable[[Transcript, Sequence[Cue]], str]]] = {
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
    "txt": _txt,
    "tsv": _tsv,
    "lrc": _lrc,
    "ass": _ass,
    "ttml": _ttml,
    "md": _md,
}
_NAMED: Final = ("json", "vtt", "md")  # the formats that have a place of their own for who speaks
CAPTIONS: Final = ("srt", "vtt", "ass", "ttml")  # the formats that a style shapes
KARAOKE: Final = ("vtt", "ass")  # the formats that can hold the times of words


def render(
    transcript: Transcript,
    format: str,  # noqa: A002  callers call it that
    *,
    style: Style | None = None,
    highlight: bool = False,
) -> str:
    """Return the transcript in one of FORMATS. Raises SettingsError, which lists them, for any other.

    `style` shapes the cues of CAPTIONS; None: a cue for each segment. `highlight`: KARAOKE have the times of words.
    """
    if format not in FORMATS:
        raise SettingsError(f"unknown transcript format {format!r}: choose one of {', '.join(FORMATS)}")
    shape = style if format in CAPTIONS else None
    word_times = highlight and format in KARAOKE
    return FORMATS[format](transcript, _cues(transcript, shape, word_times=word_times, named=format in _NAMED))


def render_all(transcript: Transcript) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each of FORMATS, one at a time: for a long transcript each takes megabytes."""
    named = introduced = _cues(transcript, None, word_times=False, named=True)
    if any(segment.speaker for segment in transcript.segments):
        introduced = _cues(transcript, None, word_times=False, named=False)
    for name, write in FORMATS.items():
        yield name, write(transcript, named if name in _NAMED else introduced)


def end_of(cut: Truncated) -> str:
    """The note where a cut-off recording ends."""
    return f"the recording ends here, at {length(cut.decoded)} of {length(cut.declared)}"


def missing(reason: str) -> str:
    """The text that stands for missing words."""
    return f"[missing: {reason}]"


def _cues(transcript: Transcript, style: Style | None, *, word_times: bool, named: bool) -> list[Cue]:
    """Return what was said and what is missing, by time. Leaves out segments without text.

    `named`: the format has a place of its own for who speaks; otherwise the text says it wherever that changes.
    """
    names = names_of(transcript.speakers)
    said = [_harmless(segment, names) for segment in transcript.segments if _clean(segment.text)]
    said = said if named else list(_introduced(said))
    notes = list(_missing(transcript))
    if style:
        cues = styled(said, notes, style, _language(transcript) or None)
        return [_spaced(cue if word_times else cue._replace(words=())) for cue in cues]
    plain = (
        *(_spaced(_cue(segment, word_times=word_times)) for segment in said),
        *(_cue(note)._replace(is_missing=True) for note in notes),
    )
    return sorted(plain, key=lambda cue: (cue.start, cue.end))


def _harmless(segment: Segment, names: Mapping[str, str]) -> Segment:
    """The segment with a text of one line, and with a name in place of the speaker's label."""
    text, speaker = _clean(segment.text), names.get(segment.speaker, _clean(segment.speaker))
    if text == segment.text and speaker == segment.speaker:
        return segment
    return msgspec.structs.replace(segment, text=text, speaker=speaker)


def _introduced(segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments with the speaker's name before the text where another one begins."""
    last = ""
    for segment in segments:
        if segment.speaker and segment.speaker != last:
            last = segment.speaker
            yield msgspec.structs.replace(segment, text=f"{_introduction(segment.speaker)}{segment.text}")
        else:
            yield segment


def _introduction(speaker: str) -> str:
    """The name before a text, with spaces at which no line breaks."""
    return f"{speaker}: ".replace(" ", "\u00a0")


def _spaced(cue: Cue) -> Cue:
    """The cue with ordinary spaces in the name before its text."""
    introduction = _introduction(cue.speaker)
    if not cue.lines[0].startswith(introduction):
        return cue
    return cue._replace(lines=(f"{cue.speaker}: {cue.lines[0].removeprefix(introduction)}", *cue.lines[1:]))


def names_of(speakers: Iterable[Speaker]) -> dict[str, str]:
    """The names of the speakers for people, by label: of A, who has no name yet, Speaker A."""
    return {each.label: _clean(each.name) or f"Speaker {_clean(each.label)}" for each in speakers}


def spoken(segments: Iterable[Segment], speakers: Iterable[Speaker]) -> dict[str, float]:
    """How many seconds each of the speakers speaks, by label."""
    seconds = dict.fromkeys((each.label for each in speakers), 0.0)
    for segment in segments:
        if segment.speaker in seconds:
            seconds[segment.speaker] += segment.end - segment.start
    return seconds


def _heading(cue: Cue) -> str:
    at = writers.clock(cue.start, ".").partition(".")[0]
    return f"{_as_written(cue.speaker)}, {at}" if cue.speaker else at


def _missing(transcript: Transcript) -> Iterator[Segment]:
    """Return a line for each gap that a reader must not take for silence, at the time of the gap."""
    for gap in transcript.gaps:
        yield Segment(start=gap.start, end=gap.end, text=missing(_clean(gap.reason)))
    for speech in transcript.unheard:
        yield Segment(start=speech.start, end=speech.end, text=missing(UNHEARD))
    if cut := transcript.truncated:
        yield Segment(start=cut.decoded, end=cut.declared, text=missing(end_of(cut)))


def _cue(segment: Segment, *, word_times: bool = False) -> Cue:
    # Players drop a cue that ends as it starts.
    end = max(_ms(segment.end), _ms(segment.start) + 1)
    words = (tuple(tokens(segment)),) if word_times else ()
    return Cue(_ms(segment.start), end, (segment.text,), words, segment.speaker)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _paragraphs(cues: Sequence[Cue]) -> Iterator[list[Cue]]:
    """What is said without a pause, parted at the end of a sentence where it is long; notes stand alone."""
    part: list[Cue] = []
    for cue in cues:
        if part and (
            cue.is_missing
            or part[-1].is_missing
            or cue.speaker != part[-1].speaker
            or cue.start - part[-1].end >= _PAUSE
            or (_SENTENCE_END.search(part[-1].text) and sum(len(said.text) for said in part) >= _PARAGRAPH)
        ):
            yield part
            part = []
        part.append(cue)
    if part:
        yield part


def _language(transcript: Transcript) -> str:
    return _clean("en" if transcript.task == "translate" else transcript.language or "")


def _clean(text: str) -> str:
    """Return `text` as one line, without terminal colours or anything else that does harm on a screen."""
    if text.isprintable() and "  " not in text:  # nearly always; this makes a long transcript several times faster
        return text.strip()
    return _BLANKS.sub(" ", HARMFUL.sub(" ", _ANSI.sub("", text))).strip()


def _without_tags(text: str) -> str:
    """Return `text` with round brackets where LRC would read the time of a line or a word."""
    return _LRC_TAG.sub(r"(\1)", text)


def _as_written(text: str) -> str:
    """Return `text` with a backslash before what Markdown would read as its own."""
    return _MARKDOWN.sub(r"\\\1", text)


def _lrc_clock(milliseconds: int) -> str:
    """Return 62:03.45, in hundredths and without hours."""
    seconds, hundredths = divmod((milliseconds + 5) // 10, 100)
    return f"{seconds // 60:02}:{seconds % 60:02}.{hundredths:02}"
