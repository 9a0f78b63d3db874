"""Writes cues in the formats of subtitles. Each escapes what its format would read as syntax."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final
from xml.sax.saxutils import escape

from v2t_stream.subtitles.cue import Cue
from v2t_stream.subtitles.tokens import Token

_ARROW: Final = re.compile(r"--+>")
_ASS_BREAK: Final = r"\N"
_NOT_XML: Final = re.compile("[\ufffe\uffff]")  # with what `text.HARMFUL` names, all that XML does not allow

# https://fileformats.fandom.com/wiki/SubStation_Alpha; WrapStyle 2: lines break only where we break them.
_ASS: Final = """\
[Script Info]
Title: {title}
ScriptType: v4.00+
WrapStyle: 2
ScaledBorderAndShadow: yes
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,64,&H00FFFFFF,&H0000FFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,96,96,54,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""

# W3C, "TTML Profiles for Internet Media Subtitles and Captions 1.1", text profile.
_TTML: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" \
xmlns:tts="http://www.w3.org/ns/ttml#styling" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" \
ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text" ttp:timeBase="media" xml:lang="{language}">
  <head>
    <metadata><ttm:title>{title}</ttm:title></metadata>
    <styling>
      <style xml:id="white" tts:color="white" tts:fontFamily="proportionalSansSerif" tts:fontSize="100%" \
tts:textAlign="center"/>
    </styling>
    <layout>
      <region xml:id="bottom" tts:origin="10% 75%" tts:extent="80% 20%" tts:displayAlign="after"/>
    </layout>
  </head>
  <body><div region="bottom" style="white">
{cues}  </div></body>
</tt>
"""


def srt(cues: Iterable[Cue]) -> str:
    return "\n".join(
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{_ARROW.sub('->', _line_by_line(cue))}\n"
        for number, cue in enumerate(cues, 1)
    )


def vtt(cues: Iterable[Cue], *, language: str) -> str:
    """A cue that has words has the time of each in its text, for players that mark what is said (karaoke)."""
    header = f"WEBVTT\nKind: captions\nLanguage: {_ARROW.sub('->', language)}\n" if language else "WEBVTT\n"
    return "\n".join(
        (
            header,
            *(
                f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n"
                f"{_vtt_voice(cue)}{_vtt_words(cue) if cue.words else escape(_line_by_line(cue))}\n"
                for cue in cues
            ),
        )
    )


def ass(cues: Iterable[Cue], *, title: str) -> str:
    """A cue that has words has the length of each in its text (karaoke)."""
    lines = (
        f"Dialogue: 0,{_ass_clock(cue.start)},{_ass_clock(cue.end)},Default,{_ass_name(cue.speaker)},0,0,0,,"
        f"{_ass_words(cue) if cue.words else _ASS_BREAK.join(map(_ass_text, cue.lines))}\n"
        for cue in cues
    )
    return "".join((_ASS.format(title=title), *lines))


def ttml(cues: Iterable[Cue], *, title: str, language: str) -> str:
    paragraphs = (
        f'    <p begin="{clock(cue.start, ".")}" end="{clock(cue.end, ".")}">{"<br/>".join(map(_xml, cue.lines))}</p>\n'
        for cue in cues
    )
    return _TTML.format(title=_xml(title), language=_xml(language), cues="".join(paragraphs))


def clock(milliseconds: int, point: str) -> str:
    """Return 01:02:03,004; from 100 hours on, hours take more digits."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _line_by_line(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _vtt_voice(cue: Cue) -> str:
    return f"<v {escape(cue.speaker)}>" if cue.speaker else ""


def _vtt_words(cue: Cue) -> str:
    """The text with a time before each word; WebVTT wants times that rise, within the cue."""
    last = cue.start
    lines = []
    for line in cue.words:
        text = ""
        for number, word in enumerate(line):
            at = round(word.start * 1000)
            if last < at < cue.end:
                last = at
                text += f"{' ' * (word.spaced and number > 0)}<{clock(at, '.')}>{escape(word.text)}"
            else:
                text += f"{' ' * (word.spaced and number > 0)}{escape(word.text)}"
        lines.append(text)
    return "\n".join(lines)


def _ass_words(cue: Cue) -> str:
    """The text with the hundredths of a second before each word until the next one begins."""
    starts = [_hundredths(round(word.start * 1000)) for word in chain.from_iterable(cue.words)]
    begin, end = _hundredths(cue.start), _hundredths(cue.end)
    starts = [min(max(start, begin), end) for start in starts]
    lengths = iter([two - one for one, two in zip(starts, [*starts[1:], end], strict=True)])
    lead = f"{{\\k{starts[0] - begin}}}" if starts[0] > begin else ""
    return lead + _ASS_BREAK.join("".join(_ass_line(line, lengths)) for line in cue.words)


def _ass_line(words: Sequence[Token], lengths: Iterator[int]) -> Iterator[str]:
    for number, word in enumerate(words):
        space = " " if word.spaced and number else ""
        yield f"{space}{{\\k{max(0, next(lengths))}}}{_ass_text(word.text)}"


def _ass_text(text: str) -> str:
    """Return `text` without override blocks; a word joiner, which has no width, keeps a backslash from being one."""
    return text.translate({ord("{"): "(", ord("}"): ")", ord("\\"): "\\\u2060"})


def _ass_name(speaker: str) -> str:
    """Return `speaker` for a field, which ends with a comma."""
    return _ass_text(speaker).replace(",", " ")


def _ass_clock(milliseconds: int) -> str:
    """Return 1:02:03.04, in hundredths."""
    seconds, rest = divmod(_hundredths(milliseconds), 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:02}"


def _hundredths(milliseconds: int) -> int:
    return (milliseconds + 5) // 10


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub(" ", text), {'"': "&quot;"})
