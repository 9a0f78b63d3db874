"""How wide a text is on a screen."""

import re
import unicodedata
from typing import Final

# A line of 42 letters is as wide as one of 16 full-width characters (Netflix's guides for English and for Chinese).
_LETTER: Final = 8  # units
# Up to three words with a capital, such as "Ben Smith: ".
_NAME: Final = re.compile(r"(?:(?![a-z\d])\w[^\s:]{0,30}[ \u00a0]){0,2}(?![a-z\d])\w[^\s:]{0,30}:[ \u00a0]")
_FULL: Final = 21  # units: 42 letters of 8 are 16 full-width characters of 21


def columns(text: str) -> float:
    """The width of a line, in letters; marks that stand on a letter have none."""
    if text.isascii():
        return float(len(text))
    return sum(map(_units, text)) / _LETTER


def letters(text: str) -> int:
    """What a reader has to read, in letters: Chinese, Japanese and Korean say about twice as much with a character.

    The guides allow 9 characters a second in Chinese and 12 in Korean where they allow 20 letters in English. The name
    of who speaks, before the words, does not count: it is taken in at a glance, and no speech takes time for it.
    """
    name = _NAME.match(text)
    text = text[name.end() :] if name else text
    if text.isascii():
        return len(text)
    return sum(2 if is_full(letter) else 1 for letter in text if _units(letter))


def is_full(letter: str) -> bool:
    """Whether it is as wide as a Chinese character."""
    return unicodedata.east_asian_width(letter) in "WF"


def _units(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return _FULL if is_full(letter) else _LETTER
