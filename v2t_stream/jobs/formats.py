"""Renders a transcript in the formats that people use; pure functions.

Times are rounded once to whole milliseconds and then split into hours, minutes and so on as integers: rounding the
seconds after the split gives 00:00:60,000. The text of a segment comes from a model or a third party and may hold
anything, so each format escapes what would be its own syntax.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.transcript import Transcript, Truncated
from v2t_stream.errors import SettingsError
from v2t_stream.text import HARMFUL
from v2t_stream.units import length

_ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]")
_BLANKS: Final = re.compile(r"  +")  # but not the no-break spaces of French
_ARROW: Final = re.compile(r"--+>")
_LRC_TAG: Final = re.compile(r"[\[<](\d+:[\d:.]*)[\]>]")


UNHEARD: Final = "speech in which no words were heard"  # the reason that a gap shows


class _Line(NamedTuple):
    start: int  # milliseconds
    end: int  # milliseconds, after start
    text: str  # one line, not empty
    is_missing: bool  # it stands for what could not be transcribed


def _json(transcript: Transcript, _: Sequence[_Line]) -> str:
    text = msgspec.json.format(msgspec.json.encode(transcript)).decode()
    # The same when parsed as JSON, and harmless when printed on a terminal.
    return "\n".join(HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n")) + "\n"


def _srt(_: Transcript, lines: Sequence[_Line]) -> str:
    cues = (
        f"{number}\n{_clock(line.start, ',')} --> {_clock(line.end, ',')}\n{_ARROW.sub('->', line.text)}\n"
        for number, line in enumerate(lines, 1)
    )
    return "\n".join(cues)


def _vtt(transcript: Transcript, lines: Sequence[_Line]) -> str:
    language = _clean("en" if transcript.task == "translate" else transcript.language or "")
    header = f"WEBVTT\nKind: captions\nLanguage: {_ARROW.sub('->', language)}\n" if language else "WEBVTT\n"
    cues = (f"{_clock(line.start, '.')} --> {_clock(line.end, '.')}\n{_escaped(line.text)}\n" for line in lines)
    return "\n".join((header, *cues))


def _txt(_: Transcript, lines: Sequence[_Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _tsv(_: Transcript, lines: Sequence[_Line]) -> str:
    """Write what openai-whisper writes: milliseconds and text. Programs read it, so it leaves out what is missing."""
    rows = (f"{line.start}\t{line.end}\t{line.text}\n" for line in lines if not line.is_missing)
    return "".join(("start\tend\ttext\n", *rows))


def _lrc(transcript: Transcript, lines: Sequence[_Line]) -> str:
    """Write lyrics: lines have no end time, minutes have no limit, and what is missing is left out."""
    title = _clean(transcript.title).translate({ord("["): "(", ord("]"): ")"})
    header = f"[ti:{title}]\n" if title else ""
    rows = (f"[{_lrc_clock(line.start)}]{_without_tags(line.text)}\n" for line in lines if not line.is_missing)
    return "".join((header, *rows))


FORMATS: Final[dict[str, Callable[[Transcript, Sequence[_Line]], str]]] = {
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
    "txt": _txt,
    "tsv": _tsv,
    "lrc": _lrc,
}


def render(transcript: Transcript, format: str) -> str:  # noqa: A002  callers call it that
    """Return the transcript in one of FORMATS. Raises SettingsError, which lists them, for any other."""
    if format not in FORMATS:
        raise SettingsError(f"unknown transcript format {format!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[format](transcript, _lines(transcript))


def render_all(transcript: Transcript) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each of FORMATS, one at a time: for a long transcript each takes megabytes."""
    lines = _lines(transcript)
    for name, write in FORMATS.items():
        yield name, write(transcript, lines)


def end_of(cut: Truncated) -> str:
    """The note where a cut-off recording ends."""
    return f"the recording ends here, at {length(cut.decoded)} of {length(cut.declared)}"


def missing(reason: str) -> str:
    """The text that stands for missing words."""
    return f"[missing: {reason}]"


def _lines(transcript: Transcript) -> list[_Line]:
    """Return what was said and what is missing, by time. Leaves out segments without text."""
    said = (_line(segment.start, segment.end, _clean(segment.text)) for segment in transcript.segments)
    lines = (*said, *_missing(transcript))
    return sorted((line for line in lines if line.text), key=lambda line: (line.start, line.end))


def _missing(transcript: Transcript) -> Iterator[_Line]:
    """Return a line for each gap that a reader must not take for silence, at the time of the gap."""
    for gap in transcript.gaps:
        yield _line(gap.start, gap.end, missing(_clean(gap.reason)), is_missing=True)
    for speech in transcript.unheard:
        yield _line(speech.start, speech.end, missing(UNHEARD), is_missing=True)
    if cut := transcript.truncated:
        yield _line(cut.decoded, cut.declared, missing(end_of(cut)), is_missing=True)


def _line(start: float, end: float, text: str, *, is_missing: bool = False) -> _Line:
    # Players drop a cue that ends as it starts.
    return _Line(_ms(start), max(_ms(end), _ms(start) + 1), text, is_missing)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _clean(text: str) -> str:
    """Return `text` as one line, without terminal colours or anything else that does harm on a screen."""
    if text.isprintable() and "  " not in text:  # nearly always; this makes a long transcript several times faster
        return text.strip()
    return _BLANKS.sub(" ", HARMFUL.sub(" ", _ANSI.sub("", text))).strip()


def _escaped(text: str) -> str:
    """Return `text` with WebVTT's tags and references escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without_tags(text: str) -> str:
    """Return `text` with round brackets where LRC would read the time of a line or a word."""
    return _LRC_TAG.sub(r"(\1)", text)


def _clock(milliseconds: int, point: str) -> str:
    """Return 01:02:03,004; from 100 hours on, hours take more digits."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _lrc_clock(milliseconds: int) -> str:
    """Return 62:03.45, in hundredths and without hours."""
    seconds, hundredths = divmod((milliseconds + 5) // 10, 100)
    return f"{seconds // 60:02}:{seconds % 60:02}.{hundredths:02}"
