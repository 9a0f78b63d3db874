"""Reads the index."""

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from v2t_stream.search.file import opened_to_read
from v2t_stream.search.folding import BEGIN, END, unfolded
from v2t_stream.search.query import expression

# Ranking costs by what it ranks, and of a word that is everywhere the newest thousands serve as well as all.
_RANKED: Final = 2000


class Hit(NamedTuple):
    """A segment in which something was found."""

    job: str
    n: int  # its place in the transcript, from 0
    start: float  # seconds
    end: float
    speaker: str  # the name, or else the label; empty if nobody asked who speaks
    text: str
    marks: list[tuple[int, int]]  # what was found in the text: from and to, in Unicode characters


class Found(NamedTuple):
    """What a search gives."""

    hits: list[Hit]  # the best first
    complete: bool  # False: some transcripts are not yet in the index


def look(path: Path, words: str, *, limit: int, jobs: Sequence[str] | None = None, owner: str | None = None) -> Found:
    """The segments with these words; see `expression`. `jobs`: only in these. Blocks. Raises sqlite3.Error."""
    wanted = expression(words, owner)
    with opened_to_read(path) as connection:
        if connection is None:
            return Found([], complete=False)
        complete = connection.execute("SELECT yes FROM complete").fetchone() == (1,)
        if not wanted:
            return Found([], complete)
        rows = list(itertools.islice(_ranked(connection, wanted, jobs), limit))
        return Found([_hit(connection, wanted, row) for row in rows], complete)


def _ranked(connection: sqlite3.Connection, wanted: str, jobs: Sequence[str] | None) -> Iterable[int]:
    """The rows that have the words, the best first."""
    found: list[tuple[float, int]] = []
    for first, last in _stretches(connection, jobs):
        found += connection.execute(
            "SELECT bm25(said), -rowid FROM said WHERE said MATCH ? AND rowid BETWEEN ? AND ? "
            "ORDER BY rowid DESC LIMIT ?",
            (wanted, first, last, _RANKED - len(found)),
        )
        if len(found) == _RANKED:
            break
    return (-row for _, row in sorted(found))


def _stretches(connection: sqlite3.Connection, jobs: Sequence[str] | None) -> Iterable[tuple[int, int]]:
    if jobs is None:
        return [(0, (1 << 63) - 1)]
    found = (connection.execute("SELECT first, last FROM jobs WHERE job = ?", (job,)).fetchone() for job in jobs)
    return filter(None, found)


def _hit(connection: sqlite3.Connection, wanted: str, row: int) -> Hit:
    # Each row by itself: SQLite would otherwise mark the words in all that it ranks.
    text, start, end, speaker = connection.execute(
        "SELECT highlight(said, 0, ?, ?), start, end, speaker FROM said WHERE said MATCH ? AND rowid = ?",
        (BEGIN, END, wanted, row),
    ).fetchone()
    job, first = connection.execute(
        "SELECT job, first FROM jobs WHERE first <= ? AND last >= first ORDER BY first DESC LIMIT 1", (row,)
    ).fetchone()
    plain, marks = unfolded(text)
    return Hit(job, row - first, start, end, speaker, plain, marks)
