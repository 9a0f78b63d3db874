"""What people type, as an expression of SQLite's full-text search (sqlite.org/fts5.html, section 3)."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from v2t_stream.search.folding import folded

_MOST: Final = 32  # words and phrases; more would cost more than they narrow down
# A phrase need not end, and a star may stand at its end, before or after the quote.
_TERM: Final = re.compile(r'["“”„«»]([^"“”„«»]*)["“”„«»]?(\*?)|([^\s"“”„«»]+)')


def expression(words: str, owner: str | None) -> str:
    """All of the words and "phrases" must be in a segment; a star* stands for any ending. Empty if there is no word.

    `owner`: only in jobs of this key.
    """
    terms = list(_terms(words))[:_MOST]
    if not terms:
        return ""
    said = f"{{text}} : ({' AND '.join(terms)})"
    return said if owner is None else f"{said} AND {{owner}} : {_quoted(folded(owner))}"


def _terms(words: str) -> Iterator[str]:
    for phrase, star, word in _TERM.findall(words):
        text = folded(phrase + word)
        if any(map(_is_part_of_word, text)):
            yield _quoted(text) + ("*" if star or text.rstrip().endswith("*") else "")


def _is_part_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _quoted(text: str) -> str:
    """In quotes nothing has a meaning of its own but they themselves."""
    return '"' + text.replace('"', '""') + '"'
