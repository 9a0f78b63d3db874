"""The word error rate, the usual measure of speech recognition."""

import unicodedata
from typing import NamedTuple

import numpy as np


def words(text: str) -> list[str]:
    """Return the words of `text` in comparable form: lower case, without punctuation and symbols.

    Apostrophes inside a word stay (don't), hyphens split words. Languages written without spaces give one word per
    stretch between punctuation marks; separate their characters with spaces before comparing.
    """
    return [word for part in _plain(text).split() if (word := part.strip("'"))]


class WordErrors(NamedTuple):
    """The word changes that turn a reference into a hypothesis."""

    substituted: int
    deleted: int  # missing words
    inserted: int  # invented words

    @property
    def total(self) -> int:
        return sum(self)


def split_errors(reference: list[str], hypothesis: list[str]) -> WordErrors:
    """Return the fewest words to substitute, delete and insert to turn one into the other (Levenshtein).

    Among several minimal ways, the one with the fewest deletions and insertions counts.

    It computes one row of the usual table at a time, in a few numpy operations: a cell depends on its left neighbour
    only by a constant cost, so that dependency is a running minimum after the column's share is subtracted.
    """
    numbers: dict[str, int] = {}
    rows, columns = (
        np.array([numbers.setdefault(word, len(numbers)) for word in side], dtype=np.int32)
        for side in (reference, hypothesis)
    )
    substitution = len(rows) + len(columns) + 1  # more than all possible deletions and insertions
    indel = substitution + 1  # the same, plus one that decides between equals
    steps = np.arange(len(columns) + 1, dtype=np.int64) * indel
    above = steps.copy()  # row 0 of the table: the whole hypothesis is inserted
    row = np.empty_like(above)
    for number, word in enumerate(rows, 1):
        row[0] = number * indel
        np.minimum(above[1:] + indel, above[:-1] + (columns != word) * substitution, out=row[1:])
        row -= steps
        np.minimum.accumulate(row, out=row)
        row += steps
        above, row = row, above
    errors, indels = divmod(int(above[-1]), substitution)
    deleted = (indels + len(rows) - len(columns)) // 2
    return WordErrors(errors - indels, deleted, indels - deleted)


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Return the fewest words to substitute, insert or delete to turn one into the other (Levenshtein)."""
    return split_errors(reference, hypothesis).total


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Return errors per word of the reference: 0 for the same words, more than 1 if much was added.

    Against a reference without words, each word of the hypothesis counts as one.
    """
    expected = words(reference)
    return word_errors(expected, words(hypothesis)) / max(1, len(expected))


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return "".join(map(_kept, text))


def _kept(character: str) -> str:
    if character in "'\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}":
        return "'"
    match unicodedata.category(character)[0]:
        case "L" | "M" | "N":
            return character
        case "C" if unicodedata.category(character) == "Cf":
            return ""  # a joiner or a soft hyphen inside a word
    return " "
