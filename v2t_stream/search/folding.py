"""Text as SQLite's full-text search takes it, and back.

Its tokenizer parts words at spaces, and some scripts write none between words. There every letter becomes a word of its
own, and what people look for becomes a phrase of such words: any part of a text is found, however short.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

BEGIN, END = "\x01", "\x02"  # around what was found
_BREAK: Final = "\u200b"  # between letters; nobody sees it, so a text loses nothing without it
_HARMFUL: Final = re.compile(f"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff{_BREAK}]")

# Thai, Lao, Burmese, Khmer; kana, bopomofo, Han, Hangul, which has spaces, but joins particles to words.
_SOUTHEAST: Final = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
_EAST: Final = (
    *((0x3005, 0x3007), (0x3041, 0x3096), (0x309D, 0x312F), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)),
)


class Marked(NamedTuple):
    """A text, and where in it the words are that somebody looked for: from and to, in Unicode characters."""

    text: str
    marks: list[tuple[int, int]]


def _letters() -> re.Pattern[str]:
    """A letter of such a script, with what is written on it."""
    there = [chr(code) for first, last in _SOUTHEAST for code in range(first, last + 1)]
    above = "".join(each for each in there if unicodedata.category(each).startswith("M"))
    letters = "".join(each for each in there if unicodedata.category(each).startswith("L"))
    east = "".join(f"{chr(first)}-{chr(last)}" for first, last in _EAST)
    return re.compile(f"[{letters}{east}][{above}\u3099\u309a]*")


_LETTER: Final = _letters()


def folded(text: str) -> str:
    """The text, composed, with breaks between the letters of scripts without spaces.

    Without characters that nobody sees or SQLite does not take.
    """
    clean = _HARMFUL.sub(" ", unicodedata.normalize("NFC", text).replace(_BREAK, ""))
    return clean if clean.isascii() else _LETTER.sub(rf"{_BREAK}\g<0>{_BREAK}", clean)


def unfolded(text: str) -> Marked:
    """What `folded` took, of a text in which BEGIN and END stand around what was found."""
    plain, marks, length = [], [], 0
    for place, part in enumerate(re.split(f"[{BEGIN}{END}]", text.replace(_BREAK, ""))):
        if place % 2:
            marks.append((length, length + len(part)))
        plain.append(part)
        length += len(part)
    return Marked("".join(plain), _joined(marks))


def _joined(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without those of nothing; those that touch are one."""
    found: list[tuple[int, int]] = []
    for begin, end in marks:
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        elif begin < end:
            found.append((begin, end))
    return found
